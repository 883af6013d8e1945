//! One source while it is being read: what is heard, what is known, what is due.

use std::collections::VecDeque;
use std::time::Duration;

use chrono::{DateTime, Utc};
use store::{Position, Store};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::PullerOptions;
use crate::back_off::BackOff;
use crate::clock::now_ns;
use crate::coverage::{Coverage, Epoch};
use crate::error::{Error, Result};
use crate::progress::MessageApiProgress;
use crate::queue::publisher::Publisher;
use crate::source::Source;
use crate::sweep::{Ended, Sweeper};
use crate::tail::Told;

/// What the world is told about a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Status {
    connected: bool,
    last_envelope_at: Option<DateTime<Utc>>,
    error: Option<String>,
}

struct Mark {
    epoch: Epoch,
    time_ns: u64,
    number: u64,
}

/// The most marks that are kept while the broker is away. Progress that lags costs duplicates only.
const MARKS: usize = 4_096;
/// Rounds of reading back in one go, two hundred topics each.
const READ_BACK_ROUNDS: usize = 20;

/// What a source is read with.
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) source: Source,
    pub(super) options: PullerOptions,
    pub(super) publisher: Publisher,
    pub(super) told: mpsc::Receiver<Told>,
    pub(super) reading: JoinHandle<Result<()>>,
    pub(super) sweeper: Sweeper,
    /// Less urgent, and leaves most of the budget alone.
    pub(super) reader_back: Sweeper,
    pub(super) asking: CancellationToken,
}

pub(super) struct Pulling {
    store: Store,
    source: Source,
    options: PullerOptions,
    publisher: Publisher,
    told: mpsc::Receiver<Told>,
    coverage: Coverage,
    marks: VecDeque<Mark>,
    /// What has been published.
    saved: MessageApiProgress,
    read_back_to: u64,
    watched_since_ns: u64,
    sweeper: Sweeper,
    reader_back: Sweeper,
    reading: Option<JoinHandle<Result<()>>>,
    sweeping: Option<JoinHandle<Result<Ended>>>,
    reading_back: Option<JoinHandle<Result<Option<Position>>>>,
    sweep_at: Instant,
    read_back_at: Instant,
    back_off: BackOff,
    status: Status,
    reported: Option<Status>,
    asking: CancellationToken,
}

impl Pulling {
    pub(super) fn new(parts: Parts) -> Self {
        let now = Instant::now();
        Self {
            store: parts.store,
            source: parts.source,
            options: parts.options,
            publisher: parts.publisher,
            told: parts.told,
            coverage: Coverage::default(),
            marks: VecDeque::new(),
            saved: MessageApiProgress::default(),
            read_back_to: 0,
            watched_since_ns: 0,
            sweeper: parts.sweeper,
            reader_back: parts.reader_back,
            reading: Some(parts.reading),
            sweeping: None,
            reading_back: None,
            sweep_at: now,
            read_back_at: now + parts.options.read_back_every,
            back_off: BackOff::for_nodes(),
            status: Status::default(),
            reported: None,
            asking: parts.asking,
        }
    }

    pub(super) async fn run(&mut self, token: &CancellationToken) -> Result<()> {
        if !self.resume(token).await {
            return Ok(());
        }
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                Some(told) = self.told.recv() => self.hear(told),
                ended = finished(&mut self.reading) => return ended,
                swept = finished(&mut self.sweeping) => self.swept(swept)?,
                read_back = finished(&mut self.reading_back) => self.read_back(read_back)?,
                _ = tick.tick() => {
                    self.settle_marks();
                    self.save().await?;
                    self.report().await;
                }
            }
            self.start_what_is_due();
        }
    }

    /// Loads the progress of earlier runs, however long that takes; returns false when it was cancelled meanwhile.
    async fn resume(&mut self, token: &CancellationToken) -> bool {
        let mut back_off = BackOff::for_services();
        loop {
            let error = match self.store.source(&self.source.name).await {
                Ok(source) => {
                    self.saved = source.as_ref().map(MessageApiProgress::of).unwrap_or_default();
                    self.coverage = Coverage::resumed(self.saved.whole_until_ns);
                    self.read_back_to = self.saved.read_back_to;
                    self.watched_since_ns = self.saved.watched_since_ns;
                    return true;
                }
                Err(error) => error,
            };
            let wait = back_off.next();
            tracing::warn!(source = self.source.name, %error, retry_in = ?wait, "cannot read the source's progress");
            // The stream is being read already: what it tells waits in its channel.
            tokio::select! {
                () = token.cancelled() => return false,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn hear(&mut self, told: Told) {
        match told {
            Told::Subscribed(epoch) => {
                self.coverage.subscribed(epoch);
                self.status.connected = true;
                self.status.error = None;
            }
            Told::Ended(epoch, why) => {
                self.coverage.ended(epoch);
                self.status.connected = false;
                self.status.error = Some(format!("the stream ended: {why}"));
            }
            Told::Unreachable(why) => {
                self.status.connected = false;
                self.status.error = Some(why);
            }
            Told::Mark { epoch, time_ns, number, last_envelope_at } => {
                if self.marks.len() < MARKS {
                    self.marks.push_back(Mark { epoch, time_ns, number });
                }
                self.status.last_envelope_at = last_envelope_at.or(self.status.last_envelope_at);
            }
        }
    }

    /// Marks whose pages are confirmed move what is known to be whole.
    fn settle_marks(&mut self) {
        let confirmed = self.publisher.last_confirmed();
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.number <= confirmed) {
            self.coverage.confirmed(mark.epoch, mark.time_ns);
        }
    }

    /// Publishes progress after what it vouches for: everything before it is confirmed already.
    async fn save(&mut self) -> Result<()> {
        let reached = MessageApiProgress {
            whole_until_ns: self.coverage.whole_until(),
            read_back_to: self.read_back_to,
            watched_since_ns: self.watched_since_ns,
        };
        // While the broker is away nothing moves, and nobody may wait for room here.
        let progress = reached.since(&self.saved);
        if progress.is_empty() || self.publisher.spilled() > self.options.publisher.window_bytes {
            return Ok(());
        }
        let page = store::Page { source: self.source.name.clone(), progress, records: Vec::new() };
        self.publisher.send_page(page).await?;
        self.saved = reached;
        Ok(())
    }

    async fn report(&mut self) {
        if self.reported.as_ref() == Some(&self.status) {
            return;
        }
        let Status { connected, last_envelope_at, error } = &self.status;
        let kind = self.source.kind.as_str();
        let reporting = self.store.report_source(
            &self.source.name,
            kind,
            *connected,
            *last_envelope_at,
            error.as_deref(),
        );
        // A slow database must not delay progress; the status is reported again with the next change.
        match tokio::time::timeout(Duration::from_secs(5), reporting).await {
            Ok(Ok(())) => self.reported = Some(self.status.clone()),
            Ok(Err(error)) => tracing::debug!(%error, "cannot report the source's status"),
            Err(_) => tracing::debug!("cannot report the source's status in time"),
        }
    }

    fn start_what_is_due(&mut self) {
        let now = Instant::now();
        if self.coverage.wants_sweep() && self.sweeping.is_none() && now >= self.sweep_at {
            let overlap = u64::try_from(self.options.overlap.as_nanos()).unwrap_or(u64::MAX);
            let from_ns = self.coverage.whole_until().saturating_sub(overlap);
            let began = now_ns();
            self.coverage.sweep_began(began);
            if self.watched_since_ns == 0 {
                self.watched_since_ns = began;
            }
            let (sweeper, token) = (self.sweeper.clone(), self.asking.clone());
            tracing::info!(
                source = self.source.name,
                from_ns,
                "sweeping what the stream may have left out"
            );
            self.sweeping = Some(tokio::spawn(async move { sweeper.sweep(from_ns, &token).await }));
        }
        // A sweep comes first: both use the same budget.
        if self.sweeping.is_none()
            && self.reading_back.is_none()
            && self.watched_since_ns > 0
            && now >= self.read_back_at
        {
            let (sweeper, token) = (self.reader_back.clone(), self.asking.clone());
            let after = Position(i64::try_from(self.read_back_to).unwrap_or(i64::MAX));
            let since = self.watched_since_ns;
            self.reading_back =
                Some(tokio::spawn(async move { read_back(&sweeper, after, since, &token).await }));
        }
    }

    fn swept(&mut self, swept: Result<Ended>) -> Result<()> {
        match swept {
            Ok(Ended::Complete) => {
                self.coverage.swept();
                self.back_off.reset();
                tracing::info!(source = self.source.name, "the sweep is complete");
            }
            Ok(Ended::Cancelled) => self.coverage.sweep_failed(),
            Err(error) => {
                self.coverage.sweep_failed();
                self.sweep_at = Instant::now() + self.back_off.next();
                self.trouble(error, "the sweep failed and will begin again")?;
            }
        }
        Ok(())
    }

    fn read_back(&mut self, read_back: Result<Option<Position>>) -> Result<()> {
        self.read_back_at = Instant::now() + self.options.read_back_every;
        match read_back {
            Ok(reached) => {
                let reached = reached.and_then(|position| u64::try_from(position.0).ok());
                self.read_back_to = reached.unwrap_or(0).max(self.read_back_to);
                Ok(())
            }
            Err(error) => self.trouble(error, "reading back failed and will go on later"),
        }
    }

    /// Says what went wrong; gives it back when no waiting heals it.
    fn trouble(&mut self, error: Error, what: &str) -> Result<()> {
        tracing::warn!(source = self.source.name, %error, "{what}");
        match &error {
            Error::Store(inner) if inner.class() == store::Class::Fatal => Err(error),
            Error::Unconfirmed => Err(error),
            _ => {
                self.status.error = Some(error.to_string());
                Ok(())
            }
        }
    }

    /// Finishes after reading was told to stop: publishes what was read, waits for the confirms, publishes progress.
    pub(super) async fn finish(&mut self) {
        self.asking.cancel();
        let deadline = Instant::now() + self.options.drain;
        let drained = tokio::time::timeout_at(deadline, async {
            if let Some(reading) = self.reading.take() {
                let _ = reading.await;
            }
            if let Some(sweeping) = self.sweeping.take() {
                sweeping.abort();
            }
            if let Some(reading_back) = self.reading_back.take() {
                reading_back.abort();
            }
            while let Ok(told) = self.told.try_recv() {
                self.hear(told);
            }
            self.publisher.confirmed(self.publisher.last_sent()).await?;
            self.settle_marks();
            self.save().await?;
            self.publisher.confirmed(self.publisher.last_sent()).await
        })
        .await;
        if !matches!(drained, Ok(Ok(()))) {
            tracing::warn!(
                source = self.source.name,
                "stopped before RabbitMQ had confirmed everything; the rest is read again"
            );
        }
        self.status.connected = false;
        self.report().await;
    }
}

/// Several rounds, so that a backlog does not take a minute for each two hundred topics.
async fn read_back(
    sweeper: &Sweeper,
    after: Position,
    watched_since_ns: u64,
    token: &CancellationToken,
) -> Result<Option<Position>> {
    let mut reached = None;
    for _ in 0..READ_BACK_ROUNDS {
        match sweeper.read_back(reached.unwrap_or(after), watched_since_ns, token).await {
            Ok(Some(position)) => reached = Some(position),
            Ok(None) => break,
            // What was reached before counts.
            Err(error) if reached.is_none() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(reached)
}

/// Waits for a task that may not be there; a task that panicked counts as stopped.
async fn finished<T>(task: &mut Option<JoinHandle<Result<T>>>) -> Result<T> {
    let Some(running) = task.as_mut() else { return std::future::pending().await };
    let ended = running.await;
    *task = None;
    ended.unwrap_or(Err(Error::Unconfirmed))
}
