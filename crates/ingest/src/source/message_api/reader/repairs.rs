//! Queries beside the stream of a source: sweeps, reading back, the comparison of a silent stream.

use store::{Gap, GapState, Position};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Reading, Watched};
use crate::error::{Error, Result};
use crate::source::message_api::sweep::{Ended, Sweeper};

/// The shard of what no sweep can ask for.
const UNNAMED: &str = "unnamed";
/// Rounds of reading back in one go, two hundred topics each.
const READ_BACK_ROUNDS: usize = 20;

impl Reading {
    pub(super) fn start_what_is_due(&mut self) {
        let now = Instant::now();
        if self.coverage.wants_sweep() && self.sweeping.is_none() && now >= self.sweep_at {
            let from_ns = self.before(self.coverage.whole_until());
            let began = self.clock.now_ns();
            self.coverage.sweep_began(began);
            if self.watched_since_ns == 0 {
                self.watched_since_ns = began;
            }
            let (sweeper, stop) = (self.sweeper.clone(), self.asking.clone());
            tracing::info!(
                source = self.source(),
                from_ns,
                "sweeping what the stream may have left out"
            );
            self.sweeping = Some(tokio::spawn(async move { sweeper.sweep(from_ns, &stop).await }));
        }
        // A sweep comes first: all use the same budget.
        if self.sweeping.is_some() {
            return;
        }
        if self.reading_back.is_none() && self.watched_since_ns > 0 && now >= self.read_back_at {
            let (sweeper, stop) = (self.reader_back.clone(), self.asking.clone());
            let after = Position(i64::try_from(self.read_back_to).unwrap_or(i64::MAX));
            let since = self.watched_since_ns;
            self.reading_back =
                Some(tokio::spawn(async move { read_back(&sweeper, after, since, &stop).await }));
        }
        if let Some(epoch) = self.up
            && now.duration_since(self.alive_at) >= self.options.silence
            && let Some(mut watchdog) = self.watchdog.take()
        {
            let stop = self.asking.clone();
            let span = (self.before(self.coverage.whole_until()), self.clock.now_ns());
            self.watching = Some(tokio::spawn(async move {
                let checked = watchdog.check(span, &stop).await;
                (watchdog, epoch, checked)
            }));
        }
    }

    /// What a sweep cannot ask for: topics whose whole life fell into the span, and whose names follow from nothing.
    fn report_unnamed(&self) {
        let (from, to) = (self.coverage.whole_until(), self.coverage.sweep_reaches());
        // The first sweep of all looks at history, which is a crawl's business.
        if let Some(to) = to.filter(|_| from > 0) {
            self.tools.report.gap(Gap {
                shard: UNNAMED.to_owned(),
                state: GapState::Unrepairable,
                times: Some((from, Some(to))),
                sequences: None,
                reason: "while there was no stream, topics may have begun and ended whose names nobody knows, and what a \
                         node does not store may have passed; another source may have them"
                    .to_owned(),
            });
        }
    }

    /// So much before a time that envelopes of senders whose clocks are behind are included.
    fn before(&self, time_ns: u64) -> u64 {
        let overlap = u64::try_from(self.options.overlap.as_nanos()).unwrap_or(u64::MAX);
        time_ns.saturating_sub(overlap)
    }

    pub(super) fn swept(&mut self, swept: Result<Ended>) -> Result<()> {
        match swept {
            Ok(Ended::Complete) => {
                self.report_unnamed();
                self.coverage.swept();
                self.back_off.reset();
                self.tools.report.recovered();
                tracing::info!(source = self.source(), "the sweep is complete");
            }
            Ok(Ended::Again) => {
                self.coverage.sweep_failed();
                self.sweep_at = Instant::now() + self.back_off.next();
                tracing::info!(
                    source = self.source(),
                    "the sweep found many wallets and queries more of them"
                );
            }
            Ok(Ended::Cancelled) => self.coverage.sweep_failed(),
            Err(error) => {
                self.coverage.sweep_failed();
                self.sweep_at = Instant::now() + self.back_off.next();
                self.failed(error, "the sweep failed and will begin again")?;
            }
        }
        Ok(())
    }

    pub(super) fn read_back(&mut self, read_back: Result<Option<Position>>) -> Result<()> {
        self.read_back_at = Instant::now() + self.options.read_back_every;
        match read_back {
            Ok(reached) => {
                self.tools.report.recovered();
                let reached = reached.and_then(|position| u64::try_from(position.0).ok());
                self.read_back_to = reached.unwrap_or(0).max(self.read_back_to);
                Ok(())
            }
            Err(error) => self.failed(error, "reading back failed and will go on later"),
        }
    }

    pub(super) fn watched(&mut self, (watchdog, epoch, checked): Watched) -> Result<()> {
        self.watchdog = Some(watchdog);
        self.alive_at = Instant::now();
        match checked {
            // A sample without anything new is no proof that there is nothing: progress stays.
            Ok(Some(0) | None) => Ok(()),
            Ok(Some(missing)) => {
                tracing::warn!(
                    source = self.source(),
                    missing,
                    "the stream left envelopes out that the node stores: it is opened again and the gap is swept"
                );
                metrics::counter!("xmtp_indexer_silent_streams_total", "source" => self.source().to_owned())
                    .increment(1);
                self.distrust.send_replace(epoch);
                Ok(())
            }
            Err(error) => {
                self.failed(error, "the stream cannot be compared with what the node stores")
            }
        }
    }

    /// Reports an error; returns it when waiting cannot heal it.
    fn failed(&mut self, error: Error, what: &str) -> Result<()> {
        tracing::warn!(source = self.source(), %error, "{what}");
        match &error {
            Error::Store(inner) if inner.class() == store::Class::Fatal => Err(error),
            Error::Unconfirmed => Err(error),
            _ => {
                self.tools.report.error(error.to_string());
                Ok(())
            }
        }
    }
}

/// Several rounds, so that a backlog does not take a minute for each two hundred topics.
async fn read_back(
    sweeper: &Sweeper,
    after: Position,
    watched_since_ns: u64,
    stop: &CancellationToken,
) -> Result<Option<Position>> {
    sweeper.repair(stop).await?;
    let mut reached = None;
    for _ in 0..READ_BACK_ROUNDS {
        match sweeper.read_back(reached.unwrap_or(after), watched_since_ns, stop).await {
            Ok(Some(position)) => reached = Some(position),
            Ok(None) => break,
            // What was reached before counts.
            Err(error) if reached.is_none() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(reached)
}
