//! The system clock, for the progress of sources. All other code takes times as arguments.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// A clock that is set once: a jump of the system clock while the program runs does not affect progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started_ns: u64,
    started: Instant,
}

impl Clock {
    /// Reads the system clock.
    pub(crate) fn start() -> Clock {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let started_ns = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        Clock { started_ns, started: Instant::now() }
    }

    /// Nanoseconds since 1970.
    pub(crate) fn now_ns(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.started_ns.saturating_add(elapsed)
    }
}
