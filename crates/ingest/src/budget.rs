//! The request budget of a node: a copy of the token bucket that the node keeps for us, so that it does not refuse requests.
//!
//! Nodes refill a bucket by *whole minutes since the previous request*, and every request moves "previous" forward. A
//! client that calls more often than once a minute gets nothing back. So an empty bucket refills only after more than a minute
//! without requests from any client of the same address: all callers of a node share one [`Budget`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const MINUTE: Duration = Duration::from_secs(60);
/// A margin beyond whole minutes, for the node's clock and for latency.
const MARGIN: Duration = Duration::from_secs(1);
const SILENCE: Duration = Duration::from_secs(61);

/// The requests that a node grants to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetOptions {
    /// Requests that may be made in a burst.
    pub burst: u32,
    /// Requests that come back for each whole minute of silence.
    pub per_minute: u32,
}

impl Default for BudgetOptions {
    /// The values of today's public nodes.
    fn default() -> Self {
        Self { burst: 20_000, per_minute: 4_000 }
    }
}

/// The bucket, without a clock: callers pass the time.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    options: BudgetOptions,
    tokens: u32,
    previous: Option<Instant>,
    silent_until: Option<Instant>,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(options: BudgetOptions) -> Self {
        Self { options, tokens: options.burst, previous: None, silent_until: None }
    }

    /// Takes `cost` if at least `reserve` remains. A refused call is not a request and changes nothing.
    ///
    /// # Errors
    /// The instant of the next attempt.
    pub fn take(&mut self, now: Instant, cost: u32, reserve: u32) -> Result<(), Instant> {
        if let Some(until) = self.silent_until.filter(|until| *until > now) {
            return Err(until);
        }
        let tokens = self.tokens_at(now);
        // More than the bucket can ever hold must not wait for ever.
        let wanted = cost.saturating_add(reserve).min(self.options.burst.max(1));
        if tokens < wanted {
            let minutes = (wanted - self.tokens).div_ceil(self.options.per_minute.max(1));
            return Err(self.previous.unwrap_or(now) + MINUTE * minutes + MARGIN);
        }
        self.tokens = tokens.saturating_sub(cost);
        self.previous = Some(now);
        self.silent_until = None;
        Ok(())
    }

    /// Empties the bucket, after the node has answered that the budget is used up.
    pub fn refused(&mut self, now: Instant) {
        self.tokens = 0;
        self.previous = Some(now);
        self.silent_until = Some(now + SILENCE);
    }

    fn tokens_at(&self, now: Instant) -> u32 {
        let Some(previous) = self.previous else { return self.tokens };
        let minutes = now.saturating_duration_since(previous).as_secs() / MINUTE.as_secs();
        let back = u64::from(self.options.per_minute).saturating_mul(minutes);
        u32::try_from(u64::from(self.tokens).saturating_add(back))
            .unwrap_or(u32::MAX)
            .min(self.options.burst)
    }
}

/// A bucket that several callers share and wait on.
#[derive(Clone, Debug)]
pub struct Budget {
    bucket: Arc<Mutex<Bucket>>,
}

impl Budget {
    /// A full bucket.
    #[must_use]
    pub fn new(options: BudgetOptions) -> Self {
        Self { bucket: Arc::new(Mutex::new(Bucket::new(options))) }
    }

    /// The requests that the node grants.
    #[must_use]
    pub fn options(&self) -> BudgetOptions {
        self.lock().options
    }

    /// Waits until `cost` may be spent; `false` when cancelled meanwhile.
    pub async fn spend(&self, cost: u32, token: &CancellationToken) -> bool {
        self.spend_above(cost, 0, token).await
    }

    /// Like [`Self::spend`], leaving `reserve` to more urgent callers.
    pub async fn spend_above(&self, cost: u32, reserve: u32, token: &CancellationToken) -> bool {
        loop {
            let until = match self.lock().take(Instant::now(), cost, reserve) {
                Ok(()) => return true,
                Err(until) => until,
            };
            tracing::info!(
                seconds = (until - Instant::now()).as_secs(),
                "waiting for the node's request budget to refill"
            );
            tokio::select! {
                () = token.cancelled() => return false,
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    /// Empties the bucket, after the node has answered that the budget is used up.
    pub fn refused(&self) {
        self.lock().refused(Instant::now());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The bucket as nodes implement it.
    struct Node {
        tokens: u64,
        previous: Option<Instant>,
    }

    impl Node {
        fn ask(&mut self, options: BudgetOptions, now: Instant) -> bool {
            if let Some(previous) = self.previous {
                let minutes = now.duration_since(previous).as_secs() / 60;
                self.tokens = (self.tokens + minutes * u64::from(options.per_minute))
                    .min(u64::from(options.burst));
            }
            self.previous = Some(now);
            let granted = self.tokens >= 1;
            self.tokens -= u64::from(granted);
            granted
        }
    }

    proptest! {
        #[test]
        fn a_node_never_refuses_who_keeps_the_budget(
            burst in 1u32..50, per_minute in 1u32..20, pauses in prop::collection::vec(0u64..90_000, 1..300),
        ) {
            let options = BudgetOptions { burst, per_minute };
            let mut node = Node { tokens: u64::from(burst), previous: None };
            let mut bucket = Bucket::new(options);
            let mut now = Instant::now();
            for pause in pauses {
                now += Duration::from_millis(pause);
                if let Err(until) = bucket.take(now, 1, 0) {
                    prop_assert!(until > now);
                    now = until;
                    prop_assert!(bucket.take(now, 1, 0).is_ok(), "one silence is enough for one request");
                }
                prop_assert!(node.ask(options, now), "refused");
            }
        }
    }

    #[test]
    fn steady_calls_refill_nothing_and_silence_does() {
        let mut bucket = Bucket::new(BudgetOptions { burst: 10, per_minute: 4 });
        let start = Instant::now();
        let at = |n: u32| start + n * Duration::from_secs(30);
        assert!((0..10).all(|n| bucket.take(at(n), 1, 0).is_ok()));
        // Five minutes have passed, and nothing has come back.
        assert_eq!(bucket.take(at(10), 1, 0), Err(at(9) + SILENCE));
        assert!((0..4).all(|_| bucket.take(at(9) + SILENCE, 1, 0).is_ok()));
        assert!(bucket.take(at(9) + SILENCE, 1, 0).is_err());
    }

    #[test]
    fn a_refusal_silences_everybody_for_more_than_a_minute() {
        let mut bucket = Bucket::new(BudgetOptions::default());
        let now = Instant::now();
        bucket.refused(now);
        let until = bucket.take(now + Duration::from_secs(5), 1, 0).unwrap_err();
        assert!(until >= now + Duration::from_secs(61));
        assert!(bucket.take(until, 1, 0).is_ok());
    }

    #[test]
    fn a_reserve_is_left_to_urgent_callers() {
        let mut bucket = Bucket::new(BudgetOptions { burst: 10, per_minute: 1 });
        let now = Instant::now();
        assert!(bucket.take(now, 4, 5).is_ok());
        assert!(bucket.take(now, 4, 5).is_err());
        assert!(bucket.take(now, 4, 0).is_ok());
    }

    #[test]
    fn a_cost_beyond_the_bucket_does_not_wait_for_ever() {
        let mut bucket = Bucket::new(BudgetOptions { burst: 3, per_minute: 1 });
        assert!(bucket.take(Instant::now(), 10, 0).is_ok());
    }
}
