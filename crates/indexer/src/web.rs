//! The API server, with what it needs to know about the rest of the program.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use ingest::Queue;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use store::Store;
use tokio::sync::Mutex;

use crate::{config::Config, reach};

/// Readers further behind the log than this are told apart from ready ones.
const MAX_LAG: u64 = 50_000;

/// Binds the server's address. `queue` is filled in by whoever opens the broker first.
pub fn bind(
    store: Store,
    config: &Config,
    queue: Arc<OnceLock<Queue>>,
) -> anyhow::Result<api::Server> {
    let probe = probe(config.clone(), queue);
    let options = api::Options {
        listen: config.http.listen,
        store,
        network: config.network.clone(),
        queue: probe,
        metrics: Some(metrics()?),
        max_lag: MAX_LAG,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
    };
    Ok(api::Server::bind_with(options, config.exposure()?)?)
}

/// For how long what the broker said is told to others.
const FRESH: Duration = Duration::from_secs(1);
/// How long the broker may take.
const ASKING: Duration = Duration::from_secs(3);

/// When the broker was asked, and what it said.
type Said = (Instant, Option<api::QueueDepth>);

/// Asks the broker, which takes a connection each time: once a second, whoever wants to know.
fn probe(config: Config, queue: Arc<OnceLock<Queue>>) -> api::QueueProbe {
    let last: Arc<Mutex<Option<Said>>> = Arc::default();
    Arc::new(move || {
        let (last, queue, config) = (last.clone(), queue.clone(), config.clone());
        Box::pin(async move {
            // Whoever comes meanwhile waits here for the same answer.
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
    let depth = queue.get()?.depth().await.ok()?;
    Some(api::QueueDepth { ready: u64::from(depth.ready), unacknowledged: 0 })
}

/// The process's one recorder of metrics.
fn metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    if let Some(handle) = HANDLE.get() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new().install_recorder().context("cannot set metrics up")?;
    let upkeep = handle.clone();
    // What is measured and never asked for would pile up. Ends with the process.
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    Ok(HANDLE.get_or_init(|| handle).clone())
}
