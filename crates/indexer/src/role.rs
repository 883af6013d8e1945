//! The roles: each is built from the settings.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use ingest::{PageOptions, PublisherOptions, Puller, PullerOptions, Queue, Worker, WorkerOptions};
use store::{
    Projector, Store,
    erase::{Erased, Rule},
    log::PageBounds,
};
use wire::Verifier;

use crate::{
    config::Config,
    health::{Check, Health},
    supervise::{Roles, Step},
    web,
};

/// How often messages are looked for that have become too old.
const RETENTION_EVERY: Duration = Duration::from_secs(600);

/// How long a puller that stops waits for the broker to confirm what is on its way. With a broker that answers this takes
/// milliseconds; what is not confirmed is read from the node again. Less than the share that pullers have of
/// [`BUDGET`](crate::shutdown::BUDGET), so that a puller ends by itself.
const CONFIRM_ON_STOP: Duration = Duration::from_secs(5);

/// Starts a puller for each source.
pub fn start_pull(
    roles: &mut Roles,
    sources: Vec<ingest::Source>,
    queue: &Queue,
    store: &Store,
    config: &Config,
) -> anyhow::Result<()> {
    let options = pulling(config)?;
    for source in sources {
        let name = format!("pull {}", source.name);
        let puller = Puller { source, queue: queue.clone(), store: store.clone(), options };
        roles.start(Step::Pull, name, move |stop| puller.clone().run(stop));
    }
    Ok(())
}

/// Starts a worker, which moves pages from the queue into the log.
pub fn start_index(roles: &mut Roles, queue: &Queue, store: &Store, config: &Config) {
    let worker = Worker { queue: queue.clone(), store: store.clone(), options: indexing(config) };
    roles.start(Step::Index, "index", move |stop| worker.clone().run(stop));
}

/// Starts a projector, and retention where there are rules for it.
pub fn start_project(roles: &mut Roles, store: &Store, config: &Config) -> anyhow::Result<()> {
    let rules = config.retention_rules()?;
    let (projected, settings) = (store.clone(), config.clone());
    roles.start(Step::Project, "project", move |stop| {
        project(projected.clone(), &settings).run(stop)
    });
    if !rules.is_empty() {
        let store = store.clone();
        roles.start(Step::Project, "retain", move |stop| {
            let (store, rules) = (store.clone(), rules.clone());
            async move {
                stop.run_until_cancelled(retain(store, rules)).await;
                anyhow::Ok(())
            }
        });
    }
    Ok(())
}

/// Starts the API. Returns where it listens, which stays the same when the role is restarted.
pub fn start_serve(
    roles: &mut Roles,
    store: Store,
    config: &Config,
    queue: Arc<OnceLock<Queue>>,
    health: &Health,
) -> anyhow::Result<SocketAddr> {
    let bind = {
        let (config, health) = (config.clone(), health.clone());
        move |addr| web::bind(addr, store.clone(), &config, queue.clone(), &health)
    };
    let server = bind(config.http.listen)?;
    let addr = server.addr();
    let mut first = Some(server);
    roles.start(Step::Serve, "serve", move |stop| {
        let server = first.take().map_or_else(|| bind(addr), Ok);
        async move { anyhow::Ok(server?.run(stop).await?) }
    });
    Ok(addr)
}

/// The process is ready only while PostgreSQL answers in this program's version.
pub fn needs_store(health: &Health, store: &Store) {
    let store = store.clone();
    let check: Check = Arc::new(move || {
        let store = store.clone();
        Box::pin(async move { store.check_version().await.map_err(|error| error.to_string()) })
    });
    health.depends_on(check);
}

/// The process is ready only while RabbitMQ answers and the queue is not known to fail.
pub fn needs_queue(health: &Health, queue: &Queue) {
    let queue = queue.clone();
    let check: Check = Arc::new(move || {
        let queue = queue.clone();
        Box::pin(async move {
            match queue.fault() {
                Some(fault) => Err(fault),
                None => queue.depth().await.map(drop).map_err(|error| error.to_string()),
            }
        })
    });
    health.depends_on(check);
}

/// Erases what has become too old, at once and then every ten minutes. Several processes may do so side by side.
async fn retain(store: Store, rules: Vec<Rule>) {
    loop {
        let (mut erased, nothing) = (Erased::default(), Erased::default());
        let failed = loop {
            match store.retain(&rules, store::time::now()).await {
                Ok(batch) if batch == nothing => break None,
                Ok(batch) => erased += batch,
                Err(error) => break Some(error),
            }
        };
        if erased != nothing {
            tracing::info!(
                envelopes = erased.envelopes,
                bytes = erased.bytes,
                contact_bundles = erased.contact_bundles,
                invites = erased.invites,
                messages = erased.messages,
                welcomes = erased.welcomes,
                "retention: erased messages that had become too old"
            );
        }
        // What was not erased now is found again by the next round.
        if let Some(error) = failed {
            tracing::warn!(%error, retry_in = ?RETENTION_EVERY, "retention pauses");
        }
        tokio::time::sleep(RETENTION_EVERY).await;
    }
}

/// From the log to derived tables.
fn project(store: Store, config: &Config) -> Projector {
    Projector::new(store, Arc::new(Verifier::default()), projecting(config))
}

/// How much goes into one transaction of a projector.
fn projecting(config: &Config) -> store::projector::Config {
    let bounds = PageBounds {
        envelopes: i64::from(config.project.page_envelopes),
        bytes: i64::try_from(config.project.page_bytes).unwrap_or(i64::MAX),
    };
    store::projector::Config { bounds, ..Default::default() }
}

/// How much a worker takes.
fn indexing(config: &Config) -> WorkerOptions {
    WorkerOptions { prefetch: config.queue.prefetch, ..WorkerOptions::default() }
}

/// How full a page of the queue may be.
pub fn pages(config: &Config) -> anyhow::Result<PageOptions> {
    Ok(PageOptions {
        envelopes: usize::try_from(config.queue.page_envelopes)?,
        bytes: usize::try_from(config.queue.page_bytes)?,
        linger: Duration::from_millis(config.queue.linger_ms),
    })
}

/// How much may be on its way to the broker.
pub fn publishing(config: &Config) -> anyhow::Result<PublisherOptions> {
    let spill_bytes = usize::try_from(config.pull.spill_bytes).context("pull.spill_bytes")?;
    Ok(PublisherOptions { spill_bytes, ..PublisherOptions::default() })
}

/// How a source is read.
pub fn pulling(config: &Config) -> anyhow::Result<PullerOptions> {
    Ok(PullerOptions {
        pages: pages(config)?,
        publisher: publishing(config)?,
        drain: CONFIRM_ON_STOP,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown::BUDGET;

    #[test]
    fn the_file_of_defaults_says_what_crates_do_without_it() {
        let config = Config::defaults().unwrap();
        assert_eq!(pages(&config).unwrap(), PageOptions::default());
        assert_eq!(publishing(&config).unwrap(), PublisherOptions::default());
        assert_eq!(indexing(&config), WorkerOptions::default());
        let bounds = store::projector::Config::default().bounds;
        assert_eq!(projecting(&config).bounds, bounds);
        let readme = include_str!("../../ingest/README.md");
        let spill = format!("{} MiB of spill", config.pull.spill_bytes >> 20);
        assert!(readme.contains(&spill), "the README of ingest has another number than {spill}");
    }

    #[test]
    fn a_puller_that_waits_for_confirms_ends_within_its_share_of_a_shutdown() {
        assert!(pulling(&Config::defaults().unwrap()).unwrap().drain < BUDGET / 4);
    }
}
