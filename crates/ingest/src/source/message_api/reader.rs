//! Reads one source: what its stream delivered, what is known to be whole, what is due.

mod repairs;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use store::{Gap, GapState, Position, Progress};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use wire::Verifier;

use super::Options;
use super::ask::{Asker, Nodes};
use super::coverage::{Coverage, Epoch};
use super::progress::{MessageApiProgress, WATCHED_SINCE, WHOLE_UNTIL};
use super::sweep::{Ended, MAX_FOLLOWED, Sweeper};
use super::tail::{Event, Tail};
use super::watchdog::Watchdog;
use crate::back_off::BackOff;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::source::{Ticket, Tools};

/// Everything that a stream delivered until a time is in pages up to a ticket.
struct Mark {
    epoch: Epoch,
    time_ns: u64,
    ticket: Ticket,
}

/// The most marks that are kept while the broker is away. Progress that lags costs duplicates only.
const MARKS: usize = 4_096;
/// How far clocks may differ.
const SKEW_NS: i64 = 60 * 1_000_000_000;
/// The shard under which the gap of the stream is reported.
const STREAM: &str = "stream";

/// Reads until it is stopped.
pub(super) async fn read(
    nodes: Nodes,
    options: Options,
    tools: Tools,
    stop: CancellationToken,
) -> Result<()> {
    let (events, heard) = mpsc::channel(64);
    let (distrust, distrusted) = watch::channel(0);
    let clock = Clock::start();
    let tail = Tail {
        nodes: nodes.clone(),
        budget: tools.budget.clone(),
        outbox: tools.outbox.clone(),
        clock,
        longest_pause: (options.overlap / 4).max(Duration::from_secs(1)),
        events,
        distrusted,
    };
    let tail = tokio::spawn(tail.run(stop.child_token()));
    let verifier = Arc::new(Verifier::default());
    let asker = |reserve| Asker::new(nodes.clone(), tools.budget.clone(), reserve);
    let sweeper = |reserve| Sweeper {
        asker: asker(reserve),
        outbox: tools.outbox.clone(),
        known: tools.known.clone(),
        report: tools.report.clone(),
        verifier: Arc::clone(&verifier),
        max_followed: MAX_FOLLOWED,
    };
    // Without a reserve a sweep would leave nothing for subscribing again, and there would be no stream for a minute.
    let burst = tools.budget.options().burst;
    let watchdog = Watchdog::new(
        asker(burst / 20),
        tools.known.clone(),
        tools.outbox.clone(),
        tools.progress.clone(),
    );
    let mut reading = Reading {
        sweeper: sweeper(burst / 10),
        reader_back: sweeper(burst / 2),
        watchdog: Some(watchdog),
        options,
        clock,
        events: heard,
        distrust,
        coverage: Coverage::default(),
        marks: VecDeque::new(),
        saved: MessageApiProgress::default(),
        read_back_to: 0,
        watched_since_ns: 0,
        up: None,
        alive_at: Instant::now(),
        tail: Some(tail),
        sweeping: None,
        reading_back: None,
        watching: None,
        sweep_at: Instant::now(),
        read_back_at: Instant::now() + options.read_back_every,
        back_off: BackOff::for_nodes(),
        asking: stop.child_token(),
        tools,
    };
    let read = reading.run(&stop).await;
    if let Some(tail) = reading.tail.as_ref()
        && read.is_err()
    {
        tail.abort();
    }
    reading.finish().await;
    read
}

/// A check of the watchdog: of which stream, and with what result.
type Watched = (Watchdog, Epoch, Result<Option<usize>>);

struct Reading {
    tools: Tools,
    options: Options,
    clock: Clock,
    events: mpsc::Receiver<Event>,
    /// The newest stream that is not to be trusted any more.
    distrust: watch::Sender<Epoch>,
    coverage: Coverage,
    marks: VecDeque<Mark>,
    /// What has been published.
    saved: MessageApiProgress,
    read_back_to: u64,
    watched_since_ns: u64,
    /// The stream that is open.
    up: Option<Epoch>,
    /// When it was last known to be alive.
    alive_at: Instant,
    sweeper: Sweeper,
    /// Less urgent, and leaves most of the budget alone.
    reader_back: Sweeper,
    /// Here while it does not check.
    watchdog: Option<Watchdog>,
    tail: Option<JoinHandle<Result<()>>>,
    sweeping: Option<JoinHandle<Result<Ended>>>,
    reading_back: Option<JoinHandle<Result<Option<Position>>>>,
    watching: Option<JoinHandle<Watched>>,
    sweep_at: Instant,
    read_back_at: Instant,
    back_off: BackOff,
    asking: CancellationToken,
}

impl Reading {
    async fn run(&mut self, stop: &CancellationToken) -> Result<()> {
        if !self.resume(stop).await? {
            return Ok(());
        }
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(event) = self.events.recv() => self.hear(event),
                ended = finished(&mut self.tail) => return ended?,
                swept = finished(&mut self.sweeping) => self.swept(swept?)?,
                read_back = finished(&mut self.reading_back) => self.read_back(read_back?)?,
                watched = finished(&mut self.watching) => self.watched(watched?)?,
                _ = tick.tick() => {
                    self.settle_marks();
                    self.save().await?;
                    self.report_gap();
                    self.tools.report.flush().await;
                }
            }
            self.start_what_is_due();
        }
    }

    /// Loads the progress of earlier runs, however long that takes; returns false when it was stopped meanwhile.
    async fn resume(&mut self, stop: &CancellationToken) -> Result<bool> {
        let mut back_off = BackOff::for_services();
        loop {
            let error = match self.load().await {
                Ok(()) => return Ok(true),
                Err(error) if error.class() == store::Class::Fatal => return Err(error.into()),
                Err(error) => error,
            };
            let wait = back_off.next();
            tracing::warn!(source = self.source(), %error, retry_in = ?wait, "cannot read the progress of the source");
            // The stream is being read already: its events wait in their channel.
            tokio::select! {
                () = stop.cancelled() => return Ok(false),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn load(&mut self) -> store::Result<()> {
        let stored = self.tools.progress.load().await?;
        let mut shards = BTreeMap::new();
        for (shard, (upto, written_at)) in stored {
            // A time beyond the one at which it was written, by PostgreSQL's clock, is of a clock that was ahead.
            let written_ns = written_at.timestamp_nanos_opt().unwrap_or(i64::MAX);
            let is_time = [WHOLE_UNTIL, WATCHED_SINCE].contains(&shard.as_str());
            let right = match is_time && upto > written_ns.saturating_add(SKEW_NS) {
                true => written_ns,
                false => upto,
            };
            if right < upto {
                tracing::warn!(
                    source = self.source(),
                    shard,
                    upto,
                    right,
                    "progress was written by a clock that was ahead: it is set back"
                );
                let lower = Progress { shard: shard.clone(), upto: right };
                self.tools.progress.rewind(&[lower]).await?;
            }
            shards.insert(shard, right);
        }
        let saved = MessageApiProgress::of(&shards);
        self.tools.report.load().await?;
        self.saved = saved;
        self.coverage = Coverage::resumed(saved.whole_until_ns);
        self.read_back_to = saved.read_back_to;
        self.watched_since_ns = saved.watched_since_ns;
        Ok(())
    }

    fn source(&self) -> &str {
        self.tools.outbox.source()
    }

    fn hear(&mut self, event: Event) {
        let report = self.tools.report.clone();
        match event {
            Event::Subscribed { epoch, registered_by } => {
                self.coverage.subscribed(epoch);
                self.up = Some(epoch);
                self.alive_at = Instant::now();
                self.sweep_at = self.sweep_at.max(registered_by);
                report.connected();
            }
            Event::Ended { epoch, why } => {
                self.coverage.ended(epoch);
                self.up = None;
                report.disconnected(Some(format!("the stream ended: {why}")));
            }
            Event::Unreachable(why) => report.disconnected(Some(why)),
            Event::Alive { epoch, time_ns, ticket, last_envelope_at } => {
                self.alive_at = Instant::now();
                self.mark(epoch, time_ns, ticket);
                report.last_envelope_at(Some(last_envelope_at));
            }
        }
    }

    fn mark(&mut self, epoch: Epoch, time_ns: u64, ticket: Ticket) {
        if self.marks.len() < MARKS {
            self.marks.push_back(Mark { epoch, time_ns, ticket });
        }
    }

    /// Marks whose pages are confirmed move what is known to be whole.
    fn settle_marks(&mut self) {
        let confirmed = self.tools.outbox.last_confirmed();
        while let Some(mark) = self.marks.pop_front_if(|mark| mark.ticket <= confirmed) {
            self.coverage.confirmed(mark.epoch, mark.time_ns);
        }
    }

    /// Publishes progress after what it accounts for: everything before it is confirmed already.
    async fn save(&mut self) -> Result<()> {
        let reached = MessageApiProgress {
            whole_until_ns: self.coverage.whole_until(),
            read_back_to: self.read_back_to,
            watched_since_ns: self.watched_since_ns,
        };
        // While the broker is away nothing moves, and this task must not wait for room.
        let progress = reached.since(&self.saved);
        if progress.is_empty() || self.tools.outbox.is_congested() {
            return Ok(());
        }
        self.tools.outbox.save(progress).await?;
        self.saved = reached;
        Ok(())
    }

    /// From the end of a stream to the end of the sweep that follows, envelopes may be missing.
    fn report_gap(&self) {
        let interrupted =
            self.up.is_none() || self.sweeping.is_some() || self.coverage.wants_sweep();
        if !interrupted {
            return self.tools.report.close([STREAM.to_owned()], 0);
        }
        let (state, reason) = match self.sweeping {
            Some(_) => (
                GapState::Repairing,
                "the stream was interrupted; a sweep queries what it left out",
            ),
            None => (GapState::Open, "there is no stream"),
        };
        self.tools.report.gap(Gap {
            shard: STREAM.to_owned(),
            state,
            times: Some((self.coverage.whole_until(), None)),
            sequences: None,
            reason: reason.to_owned(),
        });
    }

    /// Finishes after reading was stopped: publishes what was read, waits for the confirms, publishes progress.
    async fn finish(&mut self) {
        self.asking.cancel();
        let deadline = Instant::now() + self.tools.drain;
        let drained = tokio::time::timeout_at(deadline, async {
            if let Some(tail) = self.tail.take() {
                let _ = tail.await;
            }
            for task in [
                self.sweeping.take().map(|task| task.abort_handle()),
                self.reading_back.take().map(|task| task.abort_handle()),
                self.watching.take().map(|task| task.abort_handle()),
            ] {
                task.inspect(tokio::task::AbortHandle::abort);
            }
            while let Ok(event) = self.events.try_recv() {
                self.hear(event);
            }
            let outbox = self.tools.outbox.clone();
            outbox.confirmed(outbox.last_sent()).await?;
            self.settle_marks();
            self.save().await?;
            outbox.confirmed(outbox.last_sent()).await
        })
        .await;
        if !matches!(drained, Ok(Ok(()))) {
            tracing::warn!(
                source = self.source(),
                "stopped before RabbitMQ had confirmed everything; the rest is read again"
            );
        }
        // Until somebody reads it again, something may be missing.
        self.up = None;
        self.report_gap();
        self.tools.report.disconnected(None);
        self.tools.report.flush().await;
    }
}

/// Waits for a task that may not be there.
///
/// # Errors
/// When the task panicked.
async fn finished<T>(task: &mut Option<JoinHandle<T>>) -> Result<T> {
    let Some(running) = task.as_mut() else { return std::future::pending().await };
    let ended = running.await;
    *task = None;
    ended.map_err(|error| Error::Task(error.to_string()))
}
