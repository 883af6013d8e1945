//! The operators' port: `/healthz`, `/readyz` and `/metrics` of a process, whatever its roles are.
//!
//! It has neither keys nor limits, and so must not be reachable by the public. The API serves the same paths on its own port.

use std::net::{SocketAddr, TcpListener};

use actix_web::{App, HttpResponse, HttpServer, http::StatusCode, web};
use anyhow::Context as _;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;

use crate::{config::Config, health::Health, telemetry};

struct Shared {
    health: Health,
    metrics: PrometheusHandle,
}

/// Serves on `metrics.listen`, when it is set, until the process ends. Returns where.
///
/// # Errors
/// When the address cannot be listened on.
pub fn serve(config: &Config, health: &Health) -> anyhow::Result<Option<SocketAddr>> {
    let Some(listen) = config.metrics.listen else { return Ok(None) };
    let refused = || {
        format!(
            "cannot listen on {listen} (metrics.listen): choose another address, or stop what listens there"
        )
    };
    let listener = TcpListener::bind(listen).with_context(refused)?;
    let addr = listener.local_addr().with_context(refused)?;
    let shared =
        web::Data::new(Shared { health: health.clone(), metrics: telemetry::metrics::recorder()? });
    let server = HttpServer::new(move || {
        App::new()
            .app_data(shared.clone())
            .route("/healthz", web::get().to(alive))
            .route("/readyz", web::get().to(ready))
            .route("/metrics", web::get().to(metrics))
    })
    .workers(1)
    .disable_signals()
    .listen(listener)
    .with_context(refused)?
    .run();
    // The port stays open until the process ends, so /readyz can report that it is stopping.
    tokio::spawn(server);
    tracing::info!(%addr, "serving /healthz, /readyz and /metrics");
    Ok(Some(addr))
}

async fn alive(shared: web::Data<Shared>) -> HttpResponse {
    answer("alive", shared.health.alive())
}

async fn ready(shared: web::Data<Shared>) -> HttpResponse {
    answer("ready", shared.health.ready_with_services().await)
}

async fn metrics(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(shared.metrics.render())
}

fn answer(status: &str, outcome: Result<(), String>) -> HttpResponse {
    match outcome {
        Ok(()) => HttpResponse::Ok().json(json!({ "status": status })),
        Err(message) => HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE)
            .json(json!({ "status": format!("not {status}"), "message": message })),
    }
}
