//! The devnet as its owner sees it: started, fed, looked at, stopped.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use wire::Envelope;

use crate::node::Node;
use crate::options::{Error, Options};
use crate::play::Player;
use crate::{gateway, grpc};

/// How often a node pings an idle connection.
const KEEP_ALIVE: Duration = Duration::from_secs(300);
/// How long `stop` waits for connections that do not close by themselves.
const GRACE: Duration = Duration::from_secs(3);

/// A local network of one node.
pub struct Devnet {
    node: Node,
    grpc: SocketAddr,
    http: Option<SocketAddr>,
    stop: CancellationToken,
    finished: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Devnet {
    /// Loads the captures, opens the ports, begins to play. When it returns both APIs answer.
    /// Cancelling `shutdown` ends it like [`Devnet::stop`].
    pub async fn start(options: Options, shutdown: CancellationToken) -> Result<Devnet, Error> {
        let node = Node::default();
        let player = Player::prepare(node.clone(), &options)?;
        let (grpc_listener, grpc) = listen(options.grpc).await?;
        let http_listener = match options.http {
            Some(address) => Some(listen(address).await?),
            None => None,
        };
        let stop = shutdown.child_token();
        let finished = CancellationToken::new();
        let http = http_listener.as_ref().map(|(_, address)| *address);
        let mut tasks = vec![
            tokio::spawn(close_at(stop.clone(), node.clone())),
            tokio::spawn(serve_grpc(grpc_listener, node.clone(), stop.clone())),
            tokio::spawn(player.play(stop.clone(), finished.clone())),
        ];
        if let Some((listener, _)) = http_listener {
            tasks.push(tokio::spawn(serve_http(listener, node.clone(), stop.clone())));
        }
        Ok(Devnet { node, grpc, http, stop, finished, tasks })
    }

    /// Where the gRPC API is.
    pub fn grpc_url(&self) -> String {
        format!("http://{}", self.grpc)
    }

    /// Where the HTTP/JSON gateway is, if there is one.
    pub fn http_url(&self) -> Option<String> {
        self.http.map(|address| format!("http://{address}"))
    }

    /// Stores and relays envelopes as if clients had published them, but takes anything: topics of
    /// any bytes and length, and payloads of any size. Subscribers without room are hung up on.
    pub fn publish(&self, envelopes: Vec<Envelope>) {
        for envelope in envelopes {
            self.node.take(envelope);
        }
    }

    /// Stores envelopes without relaying them, as if they were history.
    pub fn preload(&self, envelopes: Vec<Envelope>) {
        for envelope in &envelopes {
            self.node.keep(envelope);
        }
    }

    /// Stops relaying, or resumes it: what is published meanwhile is stored, and streams stay open and silent.
    pub fn mute(&self, mute: bool) {
        self.node.mute(mute);
    }

    /// Makes every query that names this topic fail with `INTERNAL`, or heals it.
    pub fn fail_at(&self, topic: &str, fails: bool) {
        self.node.fail_at(topic, fails);
    }

    /// How many streams are open.
    pub fn streams(&self) -> usize {
        self.node.hub().members()
    }

    /// How many envelopes `Query` can find.
    pub fn stored(&self) -> usize {
        self.node.stored()
    }

    /// Ends every stream with status OK, as a node does that restarts.
    pub fn drop_streams(&self) {
        self.node.hub().drop_all();
    }

    /// Returns when the captures are played and a limited generator has made all that it should
    /// make, and everything is in the subscribers' buffers. Never returns while an endless
    /// generator runs; returns when the devnet stops.
    pub async fn finished(&self) {
        tokio::select! {
            () = self.finished.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
    }

    /// Ends all streams with status OK and closes the ports.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let deadline = tokio::time::Instant::now() + GRACE;
        for mut task in std::mem::take(&mut self.tasks) {
            // A connection that stays open must not hold up its owner.
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

impl Drop for Devnet {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |reason| Error::Listen { address, reason };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Open streams would keep the servers from stopping.
async fn close_at(stop: CancellationToken, node: Node) {
    stop.cancelled().await;
    node.hub().close();
}

async fn serve_grpc(listener: TcpListener, node: Node, stop: CancellationToken) {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_serving::<grpc::MessageApiServer<grpc::Api>>().await;
    let served = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .add_service(health)
        .add_service(grpc::service(node))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            stop.cancelled_owned(),
        )
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the devnet's gRPC API ended");
    }
}

async fn serve_http(listener: TcpListener, node: Node, stop: CancellationToken) {
    let served = axum::serve(listener, gateway::router(node))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the devnet's HTTP gateway ended");
    }
}
