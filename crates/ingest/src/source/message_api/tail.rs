//! The stream of one node: from the node into pages, again and again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{FutureExt, Stream, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::ask::Nodes;
use super::coverage::Epoch;
use crate::back_off::BackOff;
use crate::budget::Budget;
use crate::clock::Clock;
use crate::error::Result;
use crate::pager::Pager;
use crate::source::{Cause, NodeError, Outbox, Ticket};

/// What happens to the stream.
#[derive(Debug)]
pub(crate) enum Event {
    /// A stream is open. What was published from this instant on is on it.
    Subscribed { epoch: Epoch, registered_by: Instant },
    /// A stream ended, and why.
    Ended { epoch: Epoch, why: String },
    /// No stream could be opened, and why.
    Unreachable(String),
    /// The stream was alive at a time: it delivered an envelope then. Everything that it delivered until then is in pages up to the
    /// ticket.
    Alive { epoch: Epoch, time_ns: u64, ticket: Ticket, last_envelope_at: DateTime<Utc> },
}

/// Envelopes looked at in one go.
const BURST: usize = 256;
const MARK_EVERY: Duration = Duration::from_secs(1);
/// Places in the channel of events that marks leave free.
const RESERVED: usize = 16;
/// A stream that lived this long is opened again at once when it ends.
const LIVED: Duration = Duration::from_secs(10);
/// How long to wait for a node that does not confirm the registration of the subscription.
const REGISTERING: Duration = Duration::from_secs(5);
/// Pages without a confirm from which small pages wait until they are full: a broker that is away must not be met with
/// thousands of pages of a few envelopes.
const BACKLOG: u64 = 64;
const BACKLOG_LINGER: Duration = Duration::from_secs(1);

pub(crate) struct Tail {
    pub(crate) nodes: Nodes,
    pub(crate) budget: Budget,
    pub(crate) outbox: Outbox,
    pub(crate) clock: Clock,
    /// A reader that had to pause longer ends the stream: what the node kept for it meanwhile is uncertain.
    pub(crate) longest_pause: Duration,
    pub(crate) events: mpsc::Sender<Event>,
    /// The stream that is to be ended, because it leaves envelopes out.
    pub(crate) distrusted: watch::Receiver<Epoch>,
}

impl Tail {
    /// Reads until it is stopped. What was read by then is in pages.
    pub(crate) async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut back_off = BackOff::for_nodes();
        let mut epoch = 0;
        let source = self.outbox.source().to_owned();
        loop {
            if !self.budget.spend(1, &stop).await {
                return Ok(());
            }
            let node = self.nodes.current().clone();
            let opened = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                opened = node.subscribe_all() => opened,
            };
            let wait = match opened {
                Ok(subscription) => {
                    epoch += 1;
                    let opened = Instant::now();
                    let registering =
                        if subscription.confirmed { Duration::ZERO } else { REGISTERING };
                    let registered_by = opened + registering;
                    let _ = self.events.send(Event::Subscribed { epoch, registered_by }).await;
                    let why = self.read(epoch, subscription.envelopes, &stop).await?;
                    let lived = opened.elapsed();
                    tracing::info!(
                        source,
                        why,
                        ?lived,
                        "the stream of the node ended; what it left out is swept"
                    );
                    metrics::counter!("xmtp_indexer_stream_ends_total", "source" => source.clone())
                        .increment(1);
                    let _ = self.events.send(Event::Ended { epoch, why }).await;
                    // One that hangs up at once, or leaves envelopes out, may have a better neighbour.
                    if lived < LIVED || *self.distrusted.borrow() >= epoch {
                        self.nodes.leave(node.url());
                    }
                    if lived >= LIVED {
                        back_off.reset();
                        Duration::ZERO
                    } else {
                        back_off.next()
                    }
                }
                Err(error) => {
                    match error.cause {
                        Cause::Exhausted => self.budget.refused(),
                        _ => self.nodes.leave(&error.url),
                    }
                    let wait = back_off.next();
                    tracing::warn!(source, %error, retry_in = ?wait, "no stream from the node");
                    let _ = self.events.send(Event::Unreachable(error.to_string())).await;
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Reads one stream to its end; returns why it ended.
    async fn read(
        &self,
        epoch: Epoch,
        stream: impl Stream<Item = Result<wire::Envelope, NodeError>> + Unpin,
        stop: &CancellationToken,
    ) -> Result<String> {
        let received = metrics::counter!("xmtp_indexer_envelopes_received_total", "source" => self.outbox.source().to_owned());
        let mut bursts = stream.ready_chunks(BURST);
        let mut distrusted = self.distrusted.clone();
        let mut pager = self.outbox.pager();
        // When the newest envelope came, by the clock of progress and by the clock of people.
        let mut alive = None;
        let mut next_mark = Instant::now() + MARK_EVERY;
        let why = loop {
            let burst = match bursts.next().now_or_never() {
                Some(burst) => burst,
                None => tokio::select! {
                    burst = bursts.next() => burst,
                    () = stop.cancelled() => break "this program stops".to_owned(),
                    _ = distrusted.wait_for(|distrusted| *distrusted >= epoch) => {
                        break "the node stores envelopes that its stream left out".to_owned();
                    }
                    () = tokio::time::sleep_until(self.wake_at(&pager, next_mark)) => Some(Vec::new()),
                },
            };
            let now = Instant::now();
            // Taken before anything below can wait: what comes meanwhile is not covered by it.
            let time_ns = self.clock.now_ns();
            let Some(burst) = burst else { break "the node closed it".to_owned() };
            let mut failed = None;
            received.increment(burst.len() as u64);
            for item in burst {
                match item {
                    Ok(envelope) => {
                        alive = Some((time_ns, Utc::now()));
                        self.outbox.push(&mut pager, envelope.into(), now, stop).await?;
                    }
                    Err(error) => failed = Some(error.to_string()),
                }
            }
            if let Some(why) = failed {
                break why;
            }
            let marking = now >= next_mark;
            if marking || self.due(&pager).is_some_and(|due| due <= Instant::now()) {
                self.outbox.send_rest(&mut pager).await?;
            }
            if marking {
                self.mark(epoch, &mut alive);
                next_mark = now + MARK_EVERY;
            }
            if now.elapsed() > self.longest_pause {
                break "reading had to pause for too long while the broker was away".to_owned();
            }
            if stop.is_cancelled() {
                break "this program stops".to_owned();
            }
        };
        self.outbox.send_rest(&mut pager).await?;
        self.mark(epoch, &mut alive);
        Ok(why)
    }

    /// A stream that delivers nothing proves nothing, so only envelopes make marks. The next mark replaces one for which there is
    /// no room.
    fn mark(&self, epoch: Epoch, alive: &mut Option<(u64, DateTime<Utc>)>) {
        // There is always room for the beginning and the end of a stream.
        if self.events.capacity() <= RESERVED {
            return;
        }
        if let Some((time_ns, last_envelope_at)) = alive.take() {
            let ticket = self.outbox.last_sent();
            let mark = Event::Alive { epoch, time_ns, ticket, last_envelope_at };
            let _ = self.events.try_send(mark);
        }
    }

    fn wake_at(&self, pager: &Pager, next_mark: Instant) -> Instant {
        self.due(pager).map_or(next_mark, |due| due.min(next_mark))
    }

    fn due(&self, pager: &Pager) -> Option<Instant> {
        let longer =
            if self.outbox.unconfirmed() > BACKLOG { BACKLOG_LINGER } else { Duration::ZERO };
        pager.due().map(|due| due + longer)
    }
}
