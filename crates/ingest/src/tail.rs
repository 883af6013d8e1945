//! The stream of one node: from the node into pages, again and again.

use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::{FutureExt, Stream, StreamExt};
use store::Store;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::back_off::BackOff;
use crate::budget::Budget;
use crate::clock::now_ns;
use crate::coverage::Epoch;
use crate::error::Result;
use crate::pager::{PageOptions, Pager};
use crate::queue::publisher::Publisher;
use crate::source::message_api::Node;
use crate::source::{NodeError, Trouble};
use crate::worker::park;

/// What is told to the puller.
#[derive(Debug)]
pub(crate) enum Told {
    /// A subscription is registered.
    Subscribed(Epoch),
    /// A stream ended, and why.
    Ended(Epoch, String),
    /// No stream could be had, and why.
    Unreachable(String),
    /// Everything that this stream gave before the time is in pages up to the number.
    Mark { epoch: Epoch, time_ns: u64, number: u64, last_envelope_at: Option<DateTime<Utc>> },
}

/// Envelopes looked at in one go.
const BURST: usize = 256;
const MARK_EVERY: Duration = Duration::from_secs(1);
/// A stream that lived this long is opened again at once when it ends.
const LIVED: Duration = Duration::from_secs(10);
/// Pages on their way from which small pages wait until they are full: a broker that is away must not be met with
/// thousands of pages of a few envelopes.
const BACKLOG: u64 = 64;
const BACKLOG_LINGER: Duration = Duration::from_secs(1);

pub(crate) struct Tail {
    pub(crate) node: Node,
    pub(crate) budget: Budget,
    pub(crate) publisher: Publisher,
    pub(crate) store: Store,
    pub(crate) source: String,
    pub(crate) pages: PageOptions,
    /// A reader that had to pause longer gives the stream up: what the node kept for it meanwhile is not sure.
    pub(crate) longest_pause: Duration,
    pub(crate) tell: mpsc::Sender<Told>,
}

impl Tail {
    /// Until cancelled. What was read by then is in pages.
    pub(crate) async fn run(self, token: CancellationToken) -> Result<()> {
        let mut back_off = BackOff::for_nodes();
        let mut epoch = 0;
        loop {
            if !self.budget.spend(1, &token).await {
                return Ok(());
            }
            let opened = tokio::select! {
                () = token.cancelled() => return Ok(()),
                opened = self.node.subscribe_all() => opened,
            };
            let wait = match opened {
                Ok(stream) => {
                    epoch += 1;
                    let opened = Instant::now();
                    let _ = self.tell.send(Told::Subscribed(epoch)).await;
                    let why = self.read(epoch, stream, &token).await?;
                    let lived = opened.elapsed();
                    tracing::info!(
                        source = self.source,
                        why,
                        ?lived,
                        "the node's stream ended; what it left out is swept"
                    );
                    metrics::counter!("xmtp_indexer_stream_ends_total", "source" => self.source.clone()).increment(1);
                    let _ = self.tell.send(Told::Ended(epoch, why)).await;
                    if lived >= LIVED {
                        back_off.reset();
                        Duration::ZERO
                    } else {
                        back_off.next()
                    }
                }
                Err(error) => {
                    if error.trouble == Trouble::Exhausted {
                        self.budget.refused();
                    }
                    let wait = back_off.next();
                    tracing::warn!(source = self.source, %error, retry_in = ?wait, "no stream from the node");
                    let _ = self.tell.send(Told::Unreachable(error.to_string())).await;
                    wait
                }
            };
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Reads one stream to its end; tells why it ended.
    async fn read(
        &self,
        epoch: Epoch,
        stream: impl Stream<Item = Result<wire::Envelope, NodeError>> + Unpin,
        token: &CancellationToken,
    ) -> Result<String> {
        let received = metrics::counter!("xmtp_indexer_envelopes_received_total", "source" => self.source.clone());
        let mut bursts = stream.ready_chunks(BURST);
        let mut pager = Pager::new(&self.source, self.pages);
        let mut last_envelope_at = None;
        let mut next_mark = Instant::now() + MARK_EVERY;
        let why = loop {
            let burst = match bursts.next().now_or_never() {
                Some(burst) => burst,
                None => tokio::select! {
                    burst = bursts.next() => burst,
                    () = token.cancelled() => break "we stop".to_owned(),
                    () = tokio::time::sleep_until(self.wake_at(&pager, next_mark)) => Some(Vec::new()),
                },
            };
            let now = Instant::now();
            // Taken before anything below can wait: what comes meanwhile is not covered by it.
            let time_ns = now_ns();
            let Some(burst) = burst else { break "the node closed it".to_owned() };
            let mut failed = None;
            received.increment(burst.len() as u64);
            if !burst.is_empty() {
                last_envelope_at = Some(Utc::now());
            }
            for item in burst {
                match item {
                    Ok(envelope) => match pager.push(envelope.into(), now) {
                        Ok(None) => {}
                        Ok(Some(page)) => {
                            self.publisher.send_page(page).await?;
                        }
                        Err(large) => {
                            park(&self.store, &self.source, &large.0, &large.reason(), token)
                                .await?;
                        }
                    },
                    Err(error) => failed = Some(error.to_string()),
                }
            }
            if let Some(why) = failed {
                break why;
            }
            let marking = now >= next_mark;
            if (marking || self.due(&pager).is_some_and(|due| due <= Instant::now()))
                && let Some(page) = pager.take()
            {
                self.publisher.send_page(page).await?;
            }
            if marking {
                let number = self.publisher.last_sent();
                // A mark that nobody has room for is made up for by the next.
                let _ = self.tell.try_send(Told::Mark { epoch, time_ns, number, last_envelope_at });
                next_mark = now + MARK_EVERY;
            }
            if now.elapsed() > self.longest_pause {
                break "reading had to pause for too long while the broker was away".to_owned();
            }
            if token.is_cancelled() {
                break "we stop".to_owned();
            }
        };
        let time_ns = now_ns();
        if let Some(page) = pager.take() {
            self.publisher.send_page(page).await?;
        }
        if token.is_cancelled() {
            let number = self.publisher.last_sent();
            let _ = self.tell.try_send(Told::Mark { epoch, time_ns, number, last_envelope_at });
        }
        Ok(why)
    }

    fn wake_at(&self, pager: &Pager, next_mark: Instant) -> Instant {
        self.due(pager).map_or(next_mark, |due| due.min(next_mark))
    }

    fn due(&self, pager: &Pager) -> Option<Instant> {
        let backlog = self.publisher.last_sent().saturating_sub(self.publisher.last_confirmed());
        let longer = if backlog > BACKLOG { BACKLOG_LINGER } else { Duration::ZERO };
        pager.due().map(|due| due + longer)
    }
}
