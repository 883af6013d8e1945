//! The roles of a process: started, watched, restarted when one fails, and stopped in order within one budget.

use std::{any::Any, future::Future, time::Duration};

use anyhow::anyhow;
use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{config::ConfigError, health::Health, shutdown::Shutdown};

/// The order in which roles stop: what takes data in stops first, what answers readers stops last. Roles of one step stop
/// side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// From nodes to the queue.
    Pull,
    /// From the queue to the log.
    Index,
    /// From the log to derived tables, and retention.
    Project,
    /// The API.
    Serve,
}

const STEPS: [Step; 4] = [Step::Pull, Step::Index, Step::Project, Step::Serve];

/// A role that ran for this long before it failed has recovered: its next failure counts as the first.
const RECOVERED: Duration = Duration::from_secs(60);

/// The pauses before the restarts of a role that fails again and again: about eight seconds in all, and then the process
/// ends. A supervisor outside of it expects to see the cause within 30 seconds.
fn pauses() -> impl Iterator<Item = Duration> + Send {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(250))
        .with_factor(2.0)
        .with_max_times(5)
        .build()
}

/// The roles of this process.
#[derive(Debug, Default)]
pub struct Roles {
    supervisors: JoinSet<anyhow::Result<()>>,
    roles: Vec<Role>,
    health: Health,
}

#[derive(Debug)]
struct Role {
    name: String,
    step: Step,
    stop: CancellationToken,
    /// The task that restarts it; none once that has ended.
    supervisor: Option<Id>,
}

impl Roles {
    /// Roles whose state is written to `health`.
    pub fn new(health: Health) -> Self {
        Roles { health, ..Roles::default() }
    }

    /// Starts a role. `make` is called for each start: a role that panics, fails or ends by itself is logged with its
    /// cause and started again after a pause. An error that a restart cannot heal, and the sixth failure in a row, end
    /// [`until_stopped`](Self::until_stopped) with that error.
    pub fn start<F, E>(
        &mut self,
        step: Step,
        name: impl Into<String>,
        make: impl FnMut(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<anyhow::Error> + Send + 'static,
    {
        let (name, stop) = (name.into(), CancellationToken::new());
        let supervisor = supervise(name.clone(), make, stop.clone(), self.health.clone());
        let supervisor = Some(self.supervisors.spawn(supervisor).id());
        self.roles.push(Role { name, step, stop, supervisor });
    }

    /// Waits until a stop of the process is requested or a role fails for good, and then stops every role in order, all of them
    /// within [`Shutdown::deadline`].
    ///
    /// # Errors
    /// The first failure of a role that was not healed.
    pub async fn until_stopped(mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        let mut failed = None;
        while failed.is_none() {
            tokio::select! {
                () = shutdown.requested() => break,
                Some(ended) = self.supervisors.join_next_with_id() => failed = self.ended(ended),
            }
        }
        shutdown.request();
        for (number, step) in STEPS.into_iter().enumerate() {
            // What a step does not use is left to those behind it.
            let left = shutdown.deadline().saturating_duration_since(Instant::now());
            let share = left / u32::try_from(STEPS.len() - number).unwrap_or(1);
            let error = self.stop(step, Instant::now() + share).await;
            failed = failed.or(error);
        }
        failed.map_or(Ok(()), Err)
    }

    /// Stops the roles of one step. Returns the first failure that is seen meanwhile, of any role.
    async fn stop(&mut self, step: Step, deadline: Instant) -> Option<anyhow::Error> {
        let mut failed = None;
        self.of(step).for_each(|role| role.stop.cancel());
        while self.of(step).next().is_some() {
            match timeout_at(deadline, self.supervisors.join_next_with_id()).await {
                Ok(Some(ended)) => failed = failed.or(self.ended(ended)),
                Ok(None) => break,
                Err(_) => {
                    for role in self.of(step) {
                        tracing::warn!(
                            role = role.name,
                            "did not stop in time; what it had not finished is done again later"
                        );
                    }
                    break;
                }
            }
        }
        failed
    }

    /// The roles of a step that still run.
    fn of(&self, step: Step) -> impl Iterator<Item = &Role> {
        self.roles.iter().filter(move |role| role.step == step && role.supervisor.is_some())
    }

    /// Notes that a supervisor has ended. Returns why, unless its role had been asked to stop.
    fn ended(
        &mut self,
        ended: Result<(Id, anyhow::Result<()>), JoinError>,
    ) -> Option<anyhow::Error> {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), Err(cause(error))),
        };
        let role = self.roles.iter_mut().find(|role| role.supervisor == Some(id))?;
        role.supervisor = None;
        let error = outcome.err()?;
        self.health.dead(&role.name, &error);
        tracing::error!(role = role.name, error = format!("{error:#}"), "failed for good");
        Some(error.context(format!("the role `{}` failed", role.name)))
    }
}

/// Runs a role until a stop is requested; restarts it when it fails.
async fn supervise<F, E>(
    name: String,
    mut make: impl FnMut(CancellationToken) -> F,
    stop: CancellationToken,
    health: Health,
) -> anyhow::Result<()>
where
    F: Future<Output = Result<(), E>> + Send + 'static,
    E: Into<anyhow::Error> + Send + 'static,
{
    let mut waits = pauses();
    loop {
        health.running(&name);
        let since = Instant::now();
        // A task of its own, so that a panic ends here; aborted when the supervisor is.
        let error = match AbortOnDropHandle::new(tokio::spawn(make(stop.clone()))).await {
            Ok(Ok(())) if stop.is_cancelled() => break,
            Ok(Ok(())) => anyhow!("it ended without a request to stop"),
            Ok(Err(error)) => error.into(),
            Err(error) => cause(error),
        };
        if stop.is_cancelled() || is_fatal(&error) {
            return Err(error);
        }
        if since.elapsed() >= RECOVERED {
            waits = pauses();
        }
        let Some(pause) = waits.next() else {
            return Err(error.context("failed again and again"));
        };
        metrics::counter!("xmtp_indexer_role_restarts_total", "role" => name.clone()).increment(1);
        tracing::error!(role = name, error = format!("{error:#}"), restart_in = ?pause, "failed");
        health.restarting(&name, &error);
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => break,
        }
    }
    health.stopped(&name);
    Ok(())
}

/// Whether starting the role again cannot help: its settings, the database's schema or the program must be
/// changed first.
fn is_fatal(error: &anyhow::Error) -> bool {
    use ingest::Error::{Address, ForeignPage, NodeAddress};
    use store::Error::{Encoding, Newer, Older, OtherNetwork};
    error.chain().any(|cause| {
        cause.is::<ConfigError>()
            || matches!(
                cause.downcast_ref(),
                Some(Address(_) | NodeAddress(_) | ForeignPage { .. })
            )
            || matches!(
                cause.downcast_ref(),
                Some(
                    Newer { .. }
                        | Older { .. }
                        | Encoding { .. }
                        | OtherNetwork { .. }
                        | store::Error::Address(_)
                )
            )
    })
}

/// What a task that did not end by itself died of.
fn cause(error: JoinError) -> anyhow::Error {
    match error.try_into_panic() {
        Ok(panic) => anyhow!("it panicked: {}", message(panic.as_ref())),
        Err(error) => error.into(),
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref().copied()).unwrap_or("no message")
}

#[cfg(test)]
mod tests;
