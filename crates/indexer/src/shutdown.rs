//! Stopping: the first SIGINT or SIGTERM asks, the second insists.

use std::{future::Future, io, time::Duration};

use tokio::{
    signal::unix::{SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What a shell reports for a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Tells everything that runs to stop, and knows when it has.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

/// Tasks that were asked to stop and did not.
#[derive(Debug, thiserror::Error)]
#[error("{tasks} tasks did not stop within {limit:?}")]
pub struct StillRunning {
    /// How many.
    pub tasks: usize,
    /// How long they were given.
    pub limit: Duration,
}

impl Shutdown {
    /// One that listens to no signals: for tests, and for parts that are stopped by others.
    pub fn new() -> Self {
        Self::default()
    }

    /// Listens to signals from now on. The second one ends the process at once; child processes
    /// are then told by the kernel.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let token = shutdown.token.clone();
        // Not a tracked task: it ends only with the process.
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                };
                if token.is_cancelled() {
                    tracing::warn!(signal = name, "stopping at once");
                    std::process::exit(INTERRUPTED);
                }
                tracing::info!(signal = name, "stopping; once more to stop at once");
                token.cancel();
            }
        });
        Ok(shutdown)
    }

    /// Asks everything to stop.
    pub fn request(&self) {
        self.token.cancel();
    }

    /// Whether it was asked to stop.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns when it is asked to stop.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// The token, for parts that take one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Runs a task that `drain` waits for. It must end by itself once it is asked to stop.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Asks everything to stop and waits for the tasks, so long and no longer.
    pub async fn drain(&self, limit: Duration) -> Result<(), StillRunning> {
        self.request();
        self.tasks.close();
        tokio::time::timeout(limit, self.tasks.wait())
            .await
            .map_err(|_| StillRunning { tasks: self.tasks.len(), limit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_for_tasks_and_names_those_that_stay() {
        let shutdown = Shutdown::new();
        let asked = shutdown.clone();
        let task = shutdown.spawn(async move { asked.requested().await });
        shutdown.drain(Duration::from_secs(5)).await.unwrap();
        task.await.unwrap();

        let stubborn = Shutdown::new();
        stubborn.spawn(std::future::pending::<()>());
        let still = stubborn.drain(Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(still.tasks, 1);
    }
}
