//! A stream that is silent may have nothing to relay, or relay nothing: compares it with what the node stores.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::{Digest, Envelope};

use super::ask::Asker;
use super::node::{QUERY_TOPICS, Question};
use super::sweep::STORED;
use crate::error::Result;
use crate::source::{Known, Outbox};

/// The log has an envelope some time after the stream delivered it. An envelope that it lacks by then was not delivered.
const SETTLING: Duration = Duration::from_secs(10);
/// Envelopes that were found missing once are not found again: the log may be unable to take them.
const MAX_FOUND: usize = 10_000;

/// Looks for envelopes that a stream left out.
pub(super) struct Watchdog {
    pub(super) asker: Asker,
    pub(super) known: Known,
    pub(super) outbox: Outbox,
    /// Where the next names begin: half of the queried topics are the most active ones, half are all in turn.
    after: Option<String>,
    found: HashSet<(u64, Digest)>,
}

impl Watchdog {
    pub(super) fn new(asker: Asker, known: Known, outbox: Outbox) -> Watchdog {
        Watchdog { asker, known, outbox, after: None, found: HashSet::new() }
    }

    /// Queries a node for the newest envelopes since a time; returns how many of them the log does not have after a while, or
    /// `None` when it was stopped. They are published.
    pub(super) async fn check(
        &mut self,
        since_ns: u64,
        stop: &CancellationToken,
    ) -> Result<Option<usize>> {
        let topics = self.sample().await?;
        if topics.is_empty() {
            return Ok(Some(0));
        }
        let question =
            Question { topics, start_ns: since_ns, newest_first: true, ..Question::default() };
        let answer = match self.asker.ask(question, stop).await {
            Ok(Some(answer)) => answer,
            Ok(None) => return Ok(None),
            // Sweeps find the topic that the node does not answer about.
            Err(error) => {
                tracing::debug!(%error, "cannot compare the stream with what the node stores");
                return Ok(Some(0));
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

    async fn sample(&mut self) -> Result<Vec<String>> {
        let half = (QUERY_TOPICS / 2) as i64;
        let mut topics = self.known.active_topics(half, &STORED).await?;
        let rest = self.known.topics(self.after.as_deref(), half, &STORED).await?;
        self.after = (rest.len() as i64 == half).then(|| rest.last().cloned()).flatten();
        topics.extend(rest);
        topics.sort_unstable();
        topics.dedup();
        Ok(topics)
    }
}
