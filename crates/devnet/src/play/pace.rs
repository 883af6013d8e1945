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
        if let Some(due) = self.due(Instant::now()) {
            sleep_until(due).await;
        }
    }

    /// When the next is due, if that is still to come. Each call is a turn.
    fn due(&mut self, now: Instant) -> Option<Instant> {
        let rate = f64::from(self.rate?);
        let mut due = self.started + Duration::from_secs_f64(self.turns as f64 / rate);
        if now.saturating_duration_since(due) > MOST_OWED {
            (self.started, self.turns, due) = (now, 0, now);
        }
        self.turns += 1;
        (due > now).then_some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When the last of so many turns is taken by a caller that waits for each.
    fn walk(pace: &mut Pace, mut now: Instant, turns: u32) -> Instant {
        for _ in 0..turns {
            now = pace.due(now).unwrap_or(now);
        }
        now
    }

    #[test]
    fn keeps_the_rate() {
        let mut pace = Pace::new(Some(50));
        let start = pace.started;
        let took = walk(&mut pace, start, 101) - start;
        assert_eq!(took.as_millis(), 2_000);
        assert_eq!(Pace::new(None).due(start), None);
    }

    #[test]
    fn catches_up_with_a_short_delay_and_forgets_a_long_one() {
        let mut pace = Pace::new(Some(50));
        let start = pace.started;
        let late = walk(&mut pace, start, 1) + Duration::from_millis(500);
        assert_eq!((walk(&mut pace, late, 50) - start).as_millis(), 1_000);
        let much_later = start + Duration::from_secs(60);
        let took = walk(&mut pace, much_later, 51) - much_later;
        assert_eq!(took.as_millis(), 1_000);
    }
}
