//! The API server, with what it needs to know about the rest of the program.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use ingest::Queue;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use store::Store;

use crate::{config::Config, reach};

/// Readers further behind the log than this are told apart from ready ones.
const MAX_LAG: u64 = 50_000;

/// Binds the server's address. `queue` is filled in by whoever opens the broker first.
pub fn bind(
    store: Store,
    config: &Config,
    queue: Arc<OnceLock<Queue>>,
) -> anyhow::Result<api::Server> {
    let probing = config.clone();
    let probe: api::QueueProbe = Arc::new(move || {
        let (known, config) = (queue.clone(), probing.clone());
        Box::pin(async move {
            if known.get().is_none()
                && let Ok(opened) = reach::queue(&config).await
            {
                known.set(opened).ok();
            }
            let depth = known.get()?.depth().await.ok()?;
            Some(api::QueueDepth { ready: u64::from(depth.ready), unacknowledged: 0 })
        })
    });
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
