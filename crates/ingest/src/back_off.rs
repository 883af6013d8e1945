//! How long to wait before trying again: longer each time, with jitter, without end.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Waits from a tenth of a second to a bound. `reset` after something went well.
#[derive(Debug)]
pub(crate) struct BackOff {
    builder: ExponentialBuilder,
    waits: ExponentialBackoff,
    longest: Duration,
}

impl BackOff {
    /// For nodes, which belong to others.
    pub(crate) fn for_nodes() -> Self {
        Self::up_to(Duration::from_secs(30))
    }

    /// For broker and database, which are the operator's own, and which everything waits for.
    pub(crate) fn for_services() -> Self {
        Self::up_to(Duration::from_secs(3))
    }

    fn up_to(longest: Duration) -> Self {
        let builder = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(longest)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times();
        Self { waits: builder.build(), builder, longest }
    }

    pub(crate) fn reset(&mut self) {
        self.waits = self.builder.build();
    }

    /// The wait after something that worked for a while. Something that failed at once does not reset the waits, even if part
    /// of it succeeded.
    pub(crate) fn after(&mut self, worked: Duration) -> Duration {
        if worked > self.longest * 2 {
            self.reset();
        }
        self.next()
    }

    pub(crate) fn next(&mut self) -> Duration {
        // Jitter is added on top of the capped wait.
        self.waits.next().unwrap_or(self.longest).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_peer_is_dialled_fewer_than_sixty_times_a_minute() {
        for _ in 0..100 {
            let mut back_off = BackOff::for_nodes();
            let (mut clock, mut dials) = (Duration::ZERO, 0);
            while clock < Duration::from_secs(60) {
                dials += 1;
                clock += back_off.next();
            }
            assert!(dials < 60, "{dials} dials in the first minute");
        }
    }

    #[test]
    fn only_what_worked_for_longer_than_the_longest_wait_begins_anew() {
        let mut back_off = BackOff::for_services();
        for _ in 0..20 {
            back_off.after(Duration::from_secs(1));
        }
        assert!(back_off.after(Duration::from_secs(1)) > Duration::from_secs(2));
        assert!(back_off.after(Duration::from_secs(7)) <= Duration::from_millis(200));
    }

    #[test]
    fn waits_never_end_and_never_pass_the_longest() {
        let mut back_off = BackOff::for_nodes();
        for _ in 0..1_000 {
            assert!(back_off.next() <= Duration::from_secs(30));
        }
        assert!(back_off.next() > Duration::from_secs(10));
        back_off.reset();
        assert!(back_off.next() <= Duration::from_millis(200));
    }
}
