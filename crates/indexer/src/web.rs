//! The API server, with what it needs to know about the rest of the program.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use ingest::Queue;
use store::Store;
use tokio::sync::Mutex;

use crate::{config::Config, health::Health, reach, telemetry};

/// A server whose readers are further behind the log than this is not ready.
const MAX_LAG: u64 = 50_000;

/// The role `serve`, bound to an address. `queue` is set when the process has connected to the broker.
pub fn bind(
    listen: SocketAddr,
    store: Store,
    config: &Config,
    queue: Arc<OnceLock<Queue>>,
    health: &Health,
) -> anyhow::Result<api::Server> {
    let known = queue.clone();
    let probe = probe(config.clone(), queue);
    let health = health.clone();
    let options = api::Options {
        listen,
        store,
        network: reach::network(config)?,
        queue: probe,
        metrics: Some(telemetry::metrics::recorder()?),
        health: Some(Arc::new(move || health.alive())),
        queue_fault: Arc::new(move || known.get().and_then(Queue::fault)),
        max_lag: MAX_LAG,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
    };
    Ok(api::Server::bind_with(options, config.exposure()?)?)
}

/// How long the broker's last answer is used.
const FRESH: Duration = Duration::from_secs(1);
/// How long the broker may take to answer.
const ASKING: Duration = Duration::from_secs(3);

/// When the broker was queried, and its answer.
type Said = (Instant, Option<api::QueueDepth>);

/// Queries the broker at most once a second, because each query opens a connection.
fn probe(config: Config, queue: Arc<OnceLock<Queue>>) -> api::QueueProbe {
    let last: Arc<Mutex<Option<Said>>> = Arc::default();
    Arc::new(move || {
        let (last, queue, config) = (last.clone(), queue.clone(), config.clone());
        Box::pin(async move {
            // Concurrent callers wait here and share the answer.
            let mut last = last.lock().await;
            match *last {
                Some((at, depth)) if at.elapsed() < FRESH => depth,
                _ => {
                    let asked = tokio::time::timeout(ASKING, depth(&config, &queue)).await;
                    let depth = asked.unwrap_or_default();
                    *last = Some((Instant::now(), depth));
                    depth
                }
            }
        })
    })
}

async fn depth(config: &Config, queue: &OnceLock<Queue>) -> Option<api::QueueDepth> {
    if queue.get().is_none()
        && let Ok(opened) = reach::queue(config).await
    {
        queue.set(opened).ok();
    }
    let queue = queue.get()?;
    if queue.fault().is_some() {
        return None;
    }
    let depth = queue.depth().await.ok()?;
    Some(api::QueueDepth { ready: u64::from(depth.ready), unacknowledged: 0 })
}
