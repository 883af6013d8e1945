//! Listens, and stops when told to.

use std::{net::SocketAddr, ops::Deref, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, http::Method, web};
use metrics_exporter_prometheus::PrometheusHandle;
use store::Store;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    access::Keys, exposure::Exposure, graphiql, graphql, health, keyring::Keyring, peer::Gate,
};
use crate::{
    intake::Intake,
    schema::{Graph, sdl},
    scope::{QueueFault, QueueProbe},
    tail::Hub,
    transport::refused::Refused,
};

/// How long the head of a request may take to come.
const HEADERS: Duration = Duration::from_secs(5);
/// How long what is left of a refused request is read and thrown away, so that the client gets to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// Bytes of a connection that the system keeps until they are read.
const RECEIVED: usize = 64 << 10;
/// How long sent bytes may wait for a client to take them.
#[cfg(target_os = "linux")]
const STUCK: Duration = Duration::from_secs(30);
/// How long a connection may be idle between requests.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

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
    /// Why this process is not ready, as far as its queue goes.
    pub queue_fault: QueueFault,
    /// What `/metrics` renders.
    pub metrics: Option<PrometheusHandle>,
    /// Whether the process that serves is alive, as `/healthz` says; always without it.
    pub health: Option<HealthProbe>,
    /// Readers further behind the log than this are not ready.
    pub max_lag: u64,
    /// Threads that serve.
    pub workers: usize,
}

/// Says whether the process is alive. An error is a sentence for operators.
pub type HealthProbe = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

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

/// What the handlers of one thread share.
pub(super) struct Shared {
    common: Arc<Common>,
    /// Answers through connections that this thread drives itself.
    pub(super) near: Graph,
}

impl Deref for Shared {
    type Target = Common;

    fn deref(&self) -> &Common {
        &self.common
    }
}

impl Shared {
    fn new(common: Arc<Common>, connections: usize) -> Shared {
        let near = match common.store.near(connections) {
            Ok(store) => common.graph.through(store),
            // It was opened with the same options.
            Err(_) => common.graph.clone(),
        };
        Shared { common, near }
    }
}

/// What all threads share.
pub(super) struct Common {
    pub(super) graph: Graph,
    pub(super) store: Store,
    pub(super) metrics: Option<PrometheusHandle>,
    pub(super) health: Option<HealthProbe>,
    pub(super) max_lag: u64,
    pub(super) queue_fault: QueueFault,
    pub(super) exposure: Exposure,
    pub(super) intake: Intake,
    pub(super) hub: Arc<Hub>,
    pub(super) gate: Option<Gate>,
    pub(super) keyring: Option<Keyring>,
    /// Ends what would go on for ever.
    pub(super) stop: CancellationToken,
    connections: Arc<Semaphore>,
}

impl Common {
    fn new(options: Options, exposure: Exposure) -> Common {
        let graph = Graph::new(options.store.clone(), &options.network, options.queue);
        let graph = if exposure.introspection { graph } else { graph.without_introspection() };
        let trusted = exposure.trusted.clone();
        Common {
            graph,
            hub: Hub::new(options.store.clone(), exposure.limits.answer_bytes),
            keyring: (exposure.keys != Keys::Off).then(|| Keyring::new(options.store.clone())),
            store: options.store,
            metrics: options.metrics,
            health: options.health,
            max_lag: options.max_lag,
            queue_fault: options.queue_fault,
            intake: Intake::new(exposure.limits.clone(), &sdl(), exposure.persisted, trusted),
            gate: exposure.rate.map(Gate::new),
            stop: CancellationToken::new(),
            connections: Arc::new(Semaphore::new(exposure.sockets.connections)),
            exposure,
        }
    }

    /// Room for one more socket or event stream.
    pub(super) fn permit(&self) -> Result<OwnedSemaphorePermit, Refused> {
        self.connections.clone().try_acquire_owned().map_err(|_| Refused {
            retry_after: Some(10),
            ..Refused::new(
                503,
                "TOO_MANY_CONNECTIONS",
                "too many sockets and streams are open: try again later",
            )
            .over(self.exposure.sockets.connections, self.exposure.sockets.connections + 1)
        })
    }
}

/// Answers go out as they are written. A client that neither takes what was sent nor goes away is dropped by the
/// system: nothing in this process could, while the connection does not move.
fn tune(stream: &actix_web::rt::net::TcpStream) {
    let socket = socket2::SockRef::from(stream);
    let mut tuned = socket.set_tcp_nodelay(true);
    #[cfg(target_os = "linux")]
    {
        tuned = tuned.and(socket.set_tcp_user_timeout(Some(STUCK)));
    }
    if let Err(error) = tuned {
        tracing::debug!(%error, "a connection could not be tuned");
    }
}

async fn keep_keys(shared: Arc<Common>, stop: CancellationToken) {
    if let Some(keyring) = &shared.keyring {
        keyring.run(stop, shared.exposure.keys == Keys::Required).await;
    }
}

/// A server that has its address.
pub struct Server {
    server: actix_web::dev::Server,
    addr: SocketAddr,
    shared: Arc<Common>,
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
        Server::bind_with(options, Exposure::default())
    }

    /// The same, shown to the world in another way.
    ///
    /// # Errors
    /// When the address is taken or is not this machine's.
    pub fn bind_with(options: Options, exposure: Exposure) -> Result<Server, BindError> {
        let workers = options.workers.max(1);
        let listen = options.listen;
        let refused = |source| BindError { listen, source };
        // Bound here and not by actix: its own bind tells less about failures, and the port is needed.
        let listener = std::net::TcpListener::bind(listen).map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        // Connections inherit it. No request is larger, and whoever sends on is not read as fast as memory can be copied.
        socket2::SockRef::from(&listener).set_recv_buffer_size(RECEIVED).map_err(refused)?;
        // Half of the connections are of the threads, each its own. The others are for whoever needs one more, and for what
        // follows the log.
        let all = options.store.max_connections();
        let each = all / 2 / workers;
        let store = options.store.limited(all - each * workers).unwrap_or(options.store);
        let shared = Arc::new(Common::new(Options { store, ..options }, exposure));
        let common = shared.clone();
        let server = HttpServer::new(move || {
            App::new()
                .app_data(web::Data::new(Shared::new(common.clone(), each)))
                .service(
                    web::resource("/graphql")
                        .route(web::post().to(graphql::post))
                        .route(web::get().to(graphql::get))
                        .route(web::method(Method::OPTIONS).to(graphql::options))
                        .default_service(web::to(graphql::other)),
                )
                .route("/graphiql", web::get().to(graphiql::get))
                .route("/graphiql/{file}", web::get().to(graphiql::get))
                .route("/healthz", web::get().to(health::alive))
                .route("/readyz", web::get().to(health::ready))
                .route("/metrics", web::get().to(health::metrics))
        })
        .on_connect(|connection, _| {
            if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>() {
                tune(stream);
            }
        })
        .workers(workers)
        .client_request_timeout(HEADERS)
        .client_disconnect_timeout(FAREWELL)
        // Who closes has gone: what he asked for is stopped, and not looked up to its end for nobody.
        .h1_allow_half_closed(false)
        .keep_alive(KEEP_ALIVE)
        .disable_signals()
        .shutdown_timeout(10)
        .listen(listener)
        .map_err(refused)?
        .run();
        Ok(Server { server, addr, shared })
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What its subscriptions share.
    #[cfg(test)]
    pub(crate) fn hub(&self) -> Arc<Hub> {
        self.shared.hub.clone()
    }

    /// Serves until told to stop; requests under way are answered first, for at most ten seconds.
    ///
    /// # Errors
    /// When the sockets fail.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        let handle = self.server.handle();
        let ending = self.shared.stop.clone();
        let following = tokio::spawn(self.shared.hub.clone().run(ending.clone()));
        let keeping = tokio::spawn(keep_keys(self.shared.clone(), ending.clone()));
        let mut server = self.server;
        let ended = tokio::select! {
            ended = &mut server => Some(ended),
            () = stop.cancelled() => None,
        };
        // Sockets and streams never end by themselves.
        ending.cancel();
        let ended = match ended {
            Some(ended) => ended,
            None => tokio::join!(handle.stop(true), server).1,
        };
        // They end when told to, and have nothing to say.
        let _ = tokio::join!(following, keeping);
        ended
    }
}
