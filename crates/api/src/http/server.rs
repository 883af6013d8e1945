//! Listens, and stops when told to.

use std::{net::SocketAddr, sync::Arc};

use actix_web::{App, HttpServer, web};
use metrics_exporter_prometheus::PrometheusHandle;
use store::Store;
use tokio_util::sync::CancellationToken;

use super::{graphql, health};
use crate::{schema::Graph, scope::QueueProbe};

/// Bytes of a request's body, at most.
const BODY: usize = 64 << 10;

/// How to serve.
#[derive(Clone)]
pub struct Options {
    /// Where to listen; port 0 is any free one.
    pub listen: SocketAddr,
    /// The database.
    pub store: Store,
    /// The network that is indexed, as `status` tells it.
    pub network: String,
    /// Asks the broker how much waits.
    pub queue: QueueProbe,
    /// What `/metrics` renders.
    pub metrics: Option<PrometheusHandle>,
    /// Readers further behind the log than this are not ready.
    pub max_lag: u64,
    /// Threads that serve.
    pub workers: usize,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("listen", &self.listen)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {source}; choose another address, or stop what listens there")]
pub struct BindError {
    listen: SocketAddr,
    source: std::io::Error,
}

/// What the handlers share.
pub(super) struct Shared {
    pub(super) graph: Graph,
    pub(super) store: Store,
    pub(super) metrics: Option<PrometheusHandle>,
    pub(super) max_lag: u64,
}

/// A server that has its address.
pub struct Server {
    server: actix_web::dev::Server,
    addr: SocketAddr,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Server {
    /// Takes the address.
    ///
    /// # Errors
    /// When the address is taken or is not this machine's.
    pub fn bind(options: Options) -> Result<Server, BindError> {
        let listen = options.listen;
        let refused = |source| BindError { listen, source };
        // Bound here and not by actix: its own bind tells less about failures, and the port is needed.
        let listener = std::net::TcpListener::bind(listen).map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let shared = web::Data::from(Arc::new(Shared {
            graph: Graph::new(options.store.clone(), &options.network, options.queue),
            store: options.store,
            metrics: options.metrics,
            max_lag: options.max_lag,
        }));
        let server = HttpServer::new(move || {
            App::new()
                .app_data(shared.clone())
                .app_data(web::PayloadConfig::new(BODY))
                .service(
                    web::resource("/graphql")
                        .route(web::post().to(graphql::post))
                        .route(web::get().to(graphql::get))
                        .default_service(web::to(graphql::other)),
                )
                .route("/healthz", web::get().to(health::alive))
                .route("/readyz", web::get().to(health::ready))
                .route("/metrics", web::get().to(health::metrics))
        })
        .workers(options.workers.max(1))
        .disable_signals()
        .shutdown_timeout(10)
        .listen(listener)
        .map_err(refused)?
        .run();
        Ok(Server { server, addr })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until told to stop; requests under way are answered first, for at most ten seconds.
    ///
    /// # Errors
    /// When the sockets fail.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        let handle = self.server.handle();
        let mut server = self.server;
        tokio::select! {
            ended = &mut server => return ended,
            () = stop.cancelled() => {}
        }
        let ((), ended) = tokio::join!(handle.stop(true), server);
        ended
    }
}
