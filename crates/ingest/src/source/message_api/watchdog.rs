//! A stream that is silent may have nothing to relay, or relay nothing: compares it with what the node stores.

use std::collections::HashSet;
use std::time::Duration;

use store::Progress;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::{Digest, Envelope};

use super::ask::Asker;
use super::node::{QUERY_TOPICS, Question};
use super::sweep::STORED;
use crate::error::Result;
use crate::source::{Known, Outbox, ProgressStore};

/// The log has an envelope some time after the stream delivered it. An envelope that it lacks by then was not delivered.
const SETTLING: Duration = Duration::from_secs(10);
/// The shard that says up to when the stream was last compared.
const COMPARED: &str = "compared-until";
/// Envelopes that were found missing once are not found again: the log may be unable to take them.
const MAX_FOUND: usize = 10_000;

/// Looks for envelopes that a stream left out.
pub(super) struct Watchdog {
    pub(super) asker: Asker,
    pub(super) known: Known,
    pub(super) outbox: Outbox,
    pub(super) progress: ProgressStore,
    /// Where the next names begin: half of those that are asked for are the most active ones, half are all in turn.
    after: Option<String>,
    found: HashSet<(u64, Digest)>,
}

impl Watchdog {
    pub(super) fn new(
        asker: Asker,
        known: Known,
        outbox: Outbox,
        progress: ProgressStore,
    ) -> Watchdog {
        Watchdog { asker, known, outbox, progress, after: None, found: HashSet::new() }
    }

    /// Asks a node for the newest envelopes between two times; returns how many of them the log does not have after a while.
    /// They are published. `None` when nothing can be said.
    pub(super) async fn check(
        &mut self,
        (since_ns, before_ns): (u64, u64),
        stop: &CancellationToken,
    ) -> Result<Option<usize>> {
        if !self.log_is_up_to_date(before_ns, stop).await? {
            return Ok(None);
        }
        let topics = self.sample(before_ns).await?;
        if topics.is_empty() {
            return Ok(None);
        }
        let question = Question {
            topics,
            start_ns: since_ns,
            // Senders set times: future ones would hide what is new.
            end_ns: before_ns,
            newest_first: true,
            ..Question::default()
        };
        let answer = match self.asker.ask(question, stop).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(None),
            // Sweeps find the topic that the node does not answer about.
            Err(error) => {
                tracing::debug!(%error, "cannot compare the stream with what the node stores");
                return Ok(None);
            }
        };
        let new =
            |envelope: &Envelope| !self.found.contains(&(envelope.timestamp_ns, envelope.digest()));
        let mut missing: Vec<Envelope> = answer.envelopes.into_iter().filter(new).collect();
        let deadline = Instant::now() + SETTLING;
        loop {
            missing = self.known.missing(missing).await?;
            if missing.is_empty() || Instant::now() >= deadline {
                break;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(Duration::from_millis(500)) => {}
            }
        }
        let count = missing.len();
        if self.found.len() + count > MAX_FOUND {
            self.found.clear();
        }
        self.found
            .extend(missing.iter().map(|envelope| (envelope.timestamp_ns, envelope.digest())));
        self.outbox.put(missing.into_iter().map(Into::into), stop).await?;
        Ok(Some(count))
    }

    /// Waits until what was published before now has gone through the queue; false when that takes too long. What is
    /// still in the queue would look as if it had been left out.
    async fn log_is_up_to_date(&self, now: u64, stop: &CancellationToken) -> Result<bool> {
        let upto = i64::try_from(now).unwrap_or(i64::MAX);
        self.outbox.save(vec![Progress { shard: COMPARED.to_owned(), upto }]).await?;
        let deadline = Instant::now() + SETTLING;
        while Instant::now() < deadline {
            if self.progress.load().await?.get(COMPARED).is_some_and(|(stored, _)| *stored >= upto)
            {
                return Ok(true);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
        Ok(false)
    }

    async fn sample(&mut self, before_ns: u64) -> Result<Vec<String>> {
        let half = (QUERY_TOPICS / 2) as i64;
        let mut topics = self.known.active_topics(before_ns, half, &STORED).await?;
        let rest = self.known.topics(self.after.as_deref(), half, &STORED).await?;
        self.after = (rest.len() as i64 == half).then(|| rest.last().cloned()).flatten();
        topics.extend(rest);
        topics.sort_unstable();
        topics.dedup();
        Ok(topics)
    }
}
