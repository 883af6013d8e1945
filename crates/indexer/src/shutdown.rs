//! Shutdown: the first SIGINT or SIGTERM requests it, the second ends the process at once.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How long everything that stops in order may take together, from the first signal on. Orchestrators kill a process 30
/// seconds after their signal (Kubernetes) or later; the private services of `up` need the rest.
pub const BUDGET: Duration = Duration::from_secs(25);

/// What a shell reports for a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// Requests that everything stops. Clones share one request.
#[derive(Clone, Debug)]
pub struct Shutdown {
    token: CancellationToken,
    requested_at: Arc<OnceLock<Instant>>,
    budget: Duration,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::within(BUDGET)
    }
}

impl Shutdown {
    /// One that listens to no signals: for tests, and for parts that are stopped by others.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with another budget than [`BUDGET`].
    pub fn within(budget: Duration) -> Self {
        Self { token: CancellationToken::new(), requested_at: Arc::default(), budget }
    }

    /// Listens to signals from now on. The second one ends the process at once; child processes
    /// are then told by the kernel.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::new();
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let told = shutdown.clone();
        // Ends only with the process.
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = interrupt.recv() => "SIGINT",
                    _ = terminate.recv() => "SIGTERM",
                };
                if told.is_requested() {
                    tracing::warn!(signal = name, "stopping at once");
                    std::process::exit(INTERRUPTED);
                }
                tracing::info!(signal = name, "stopping; a second signal stops at once");
                told.request();
            }
        });
        Ok(shutdown)
    }

    /// Requests a stop.
    pub fn request(&self) {
        self.requested_at.get_or_init(Instant::now);
        self.token.cancel();
    }

    /// Whether a stop was requested.
    pub fn is_requested(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Returns when a stop is requested.
    pub async fn requested(&self) {
        self.token.cancelled().await;
    }

    /// The instant by which everything must have stopped: the budget after the first request.
    pub fn deadline(&self) -> Instant {
        self.requested_at.get().copied().unwrap_or_else(Instant::now) + self.budget
    }

    /// The token, for parts that take one.
    pub fn token(&self) -> CancellationToken {
        self.token.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_deadline_counts_from_the_first_request() {
        let shutdown = Shutdown::new();
        shutdown.request();
        let deadline = shutdown.deadline();
        shutdown.clone().request();
        assert!(shutdown.is_requested());
        assert_eq!(shutdown.deadline(), deadline);
        assert!(deadline <= Instant::now() + BUDGET);
    }
}
