//! What one process does: roles that run side by side, and stop one after the other.

use std::{future::Future, sync::Arc, time::Duration};

use anyhow::Context as _;
use ingest::{PageOptions, PublisherOptions, PullerOptions, Queue, Worker, WorkerOptions};
use store::{
    Projector, Store,
    erase::{Erased, Rule},
    log::PageBounds,
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use wire::Verifier;

use crate::{config::Config, shutdown::Shutdown};

/// How long a role may take to finish what it has begun.
const PATIENCE: Duration = Duration::from_secs(20);

/// The roles of this process. They stop in the reverse order of their start: what takes in stops first.
#[derive(Debug)]
pub struct Roles {
    running: Vec<Role>,
    failed: (mpsc::Sender<anyhow::Error>, mpsc::Receiver<anyhow::Error>),
}

#[derive(Debug)]
struct Role {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Default for Roles {
    fn default() -> Self {
        Roles { running: Vec::new(), failed: mpsc::channel(8) }
    }
}

impl Roles {
    /// Starts a role. One that fails takes the process down with its error: a supervisor sees it, and nobody waits for
    /// work that is not being done.
    pub fn start<F, E>(&mut self, name: &'static str, role: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error>,
    {
        let stop = CancellationToken::new();
        let (work, failed) = (role(stop.clone()), self.failed.0.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = work.await {
                let error: anyhow::Error = error.into();
                // A full channel holds an error already.
                failed.try_send(error.context(format!("the role `{name}` failed"))).ok();
            }
        });
        self.running.push(Role { name, stop, task });
    }

    /// Waits until the process is told to stop or a role fails, and then stops every role in order.
    pub async fn until_stopped(mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let failed = tokio::select! {
            () = shutdown.requested() => None,
            error = self.failed.1.recv() => error,
        };
        while let Some(mut role) = self.running.pop() {
            role.stop.cancel();
            if tokio::time::timeout(PATIENCE, &mut role.task).await.is_err() {
                tracing::warn!(
                    role = role.name,
                    "did not stop in time; what it had not finished is done again later"
                );
                role.task.abort();
            }
        }
        match failed.or_else(|| self.failed.1.try_recv().ok()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// How often envelopes are looked for that have become too old.
const RETENTION_EVERY: Duration = Duration::from_secs(600);

/// Starts projecting, and erasing what the rules of retention want erased where there are any.
pub fn start_project(roles: &mut Roles, store: &Store, config: &Config) -> anyhow::Result<()> {
    let rules = config.retention_rules()?;
    let projector = project(store.clone(), config);
    roles.start("project", |stop| projector.run(stop));
    if !rules.is_empty() {
        let store = store.clone();
        roles.start("retain", |stop| async move {
            stop.run_until_cancelled(retain(store, rules)).await;
            anyhow::Ok(())
        });
    }
    Ok(())
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
pub fn project(store: Store, config: &Config) -> Projector {
    let bounds = PageBounds {
        envelopes: i64::from(config.project.page_envelopes),
        bytes: i64::try_from(config.project.page_bytes).unwrap_or(i64::MAX),
    };
    let config = store::projector::Config { bounds, ..Default::default() };
    Projector::new(store, Arc::new(Verifier::default()), config)
}

/// From the queue into the log.
pub fn index(store: Store, queue: Queue, config: &Config) -> Worker {
    let options = WorkerOptions { prefetch: config.queue.prefetch, ..WorkerOptions::default() };
    Worker { queue, store, options }
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
        overlap: Duration::from_secs(config.pull.sweep_overlap_seconds),
        ..PullerOptions::default()
    })
}
