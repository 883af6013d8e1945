//! `/healthz`, `/readyz`, `/metrics`.

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use serde_json::json;
use store::{Error, keys::Scope};

use super::{access::Keys, headers, server::Shared};
use crate::transport::media::Media;

pub(super) async fn alive(shared: web::Data<Shared>) -> HttpResponse {
    match shared.health.as_ref().map_or(Ok(()), |alive| alive()) {
        Ok(()) => HttpResponse::Ok().json(json!({ "status": "alive" })),
        Err(message) => {
            tracing::warn!(message, "not alive");
            HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE)
                .json(json!({ "status": "not alive" }))
        }
    }
}

/// Why readers should not come here now.
struct NotReady {
    reason: &'static str,
    message: String,
}

pub(super) async fn ready(shared: web::Data<Shared>) -> HttpResponse {
    match check(&shared).await {
        Ok(lag) => HttpResponse::Ok().json(json!({ "status": "ready", "lag": lag })),
        Err(NotReady { reason, message }) => HttpResponse::build(StatusCode::SERVICE_UNAVAILABLE)
            .json(json!({ "status": "not ready", "reason": reason, "message": message })),
    }
}

async fn check(shared: &Shared) -> Result<u64, NotReady> {
    shared.store.check_version().await.map_err(unready)?;
    let snapshot = shared.store.snapshot().await.map_err(unready)?;
    let lag = snapshot.lag();
    snapshot.close().await.map_err(unready)?;
    if lag > shared.max_lag {
        let message = format!(
            "readers are {lag} envelopes behind the log, at most {} are allowed",
            shared.max_lag
        );
        return Err(NotReady { reason: "lag", message });
    }
    if let Some(message) = (shared.queue_fault)() {
        return Err(NotReady { reason: "queue", message });
    }
    Ok(lag)
}

/// What operators may know; the rest is in the log.
fn unready(error: Error) -> NotReady {
    match error {
        Error::Newer { .. } | Error::Older { .. } => {
            NotReady { reason: "schema-version", message: error.to_string() }
        }
        error => {
            tracing::warn!(%error, "not ready");
            NotReady { reason: "database", message: "the database does not answer".into() }
        }
    }
}

/// Where callers need keys, what the process does is for operators.
pub(super) async fn metrics(shared: web::Data<Shared>, http: HttpRequest) -> HttpResponse {
    if shared.exposure.keys == Keys::Required
        && let Err(refused) = shared.enter_for(&http, Scope::Admin).await
    {
        return headers::refuse(&refused, Media::Json);
    }
    match &shared.metrics {
        Some(handle) => HttpResponse::Ok()
            .content_type("text/plain; version=0.0.4; charset=utf-8")
            .body(handle.render()),
        None => HttpResponse::NotFound().finish(),
    }
}
