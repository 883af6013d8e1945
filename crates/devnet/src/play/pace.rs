//! Keeps a rate.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How far behind a pace may fall before it forgets what it owes: after a pause of the machine
/// subscribers should not get everything at once.
const MOST_OWED: Duration = Duration::from_secs(1);

/// Lets so many through a second.
pub(crate) struct Pace {
    rate: Option<u32>,
    started: Instant,
    turns: u64,
}

impl Pace {
    /// `None` never waits.
    pub(crate) fn new(rate: Option<u32>) -> Self {
        Pace { rate, started: Instant::now(), turns: 0 }
    }

    /// Waits until the next is due.
    pub(crate) async fn turn(&mut self) {
        let Some(rate) = self.rate else { return };
        let due = self.started + Duration::from_secs_f64(self.turns as f64 / f64::from(rate));
        let now = Instant::now();
        if due > now {
            sleep_until(due).await;
        } else if now - due > MOST_OWED {
            self.started = now;
            self.turns = 0;
        }
        self.turns += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keeps_the_rate_and_forgets_a_long_pause() {
        let started = Instant::now();
        let mut pace = Pace::new(Some(50));
        for _ in 0..100 {
            pace.turn().await;
        }
        let took = started.elapsed();
        assert!((1.9..2.1).contains(&took.as_secs_f64()), "{took:?}");
        tokio::time::advance(Duration::from_secs(60)).await;
        let started = Instant::now();
        for _ in 0..50 {
            pace.turn().await;
        }
        let took = started.elapsed();
        assert!((0.9..1.1).contains(&took.as_secs_f64()), "{took:?}");
    }
}
