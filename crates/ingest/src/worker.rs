//! From the queue into the log: consumes pages, appends many at once, and acknowledges after the commit.

use std::time::Duration;

use store::{Class, Maintained, Page, Record, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::back_off::BackOff;
use crate::error::{Error, Result};
use crate::queue::consumer::{Delivery, Session};
use crate::queue::settle::{Next, after_refusal};
use crate::queue::{Queue, page};

/// The limits of one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerOptions {
    /// Pages that the broker hands out in advance: about twice what a commit takes.
    pub prefetch: u16,
    /// A commit takes no further page from this many envelopes on.
    pub batch_envelopes: usize,
    /// A commit takes no further page from this many bytes on.
    pub batch_bytes: usize,
    /// How long a commit that is not full waits for further pages.
    pub linger: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            prefetch: 32,
            batch_envelopes: 4_096,
            batch_bytes: 4 << 20,
            linger: Duration::from_millis(5),
        }
    }
}

/// Consumes pages and appends them to the log. Any number of workers may run.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The queue that is consumed.
    pub queue: Queue,
    /// The database of the log.
    pub store: Store,
    /// Sizes of commits.
    pub options: WorkerOptions,
}

/// Several deliveries that become one commit.
#[derive(Default)]
struct Batch {
    pages: Vec<Page>,
    undecodable: Vec<(bytes::Bytes, page::PageError)>,
    /// The page behind these that this worker must leave in the queue.
    foreign: Option<page::PageError>,
    last_tag: u64,
    deliveries: usize,
    records: usize,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, delivery: Delivery, network: &str) {
        if delivery.redelivered {
            metrics::counter!("xmtp_indexer_pages_redelivered_total").increment(1);
        }
        match page::decode(delivery.body.clone(), network) {
            Ok(page) => {
                self.records += page.records.len();
                self.pages.push(page);
            }
            Err(reason) if reason.is_foreign() => {
                self.foreign = Some(reason);
                return;
            }
            Err(reason) => self.undecodable.push((delivery.body.clone(), reason)),
        }
        self.last_tag = delivery.tag;
        self.deliveries += 1;
        self.bytes += delivery.body.len();
    }

    /// The broker sends nothing more while `prefetch` deliveries are in here, so more would never arrive.
    fn is_full(&self, options: &WorkerOptions) -> bool {
        self.foreign.is_some()
            || self.records >= options.batch_envelopes
            || self.bytes >= options.batch_bytes
            || self.deliveries >= usize::from(options.prefetch)
    }
}

/// How a batch ended.
enum Outcome {
    Durable,
    Interrupted,
}

/// How a session ended.
enum Ended {
    Cancelled,
    /// The channel or the connection broke.
    Lost(Error),
}

impl Worker {
    /// Runs until cancelled, through every failure of broker and database that waiting can heal. Pages that were delivered
    /// and not committed when it ends go back into the queue.
    ///
    /// # Errors
    /// When the database will never accept pages, e.g. without permissions or a migration; when it belongs to
    /// another network; when the queue holds a page of another network, or of a format version that this worker does not read.
    pub async fn run(self, token: CancellationToken) -> Result<()> {
        let child = token.child_token();
        let maintenance = maintain(self.store.clone(), child.clone());
        let work = async {
            let worked = match self.claim(&token).await {
                Ok(true) => self.work(&token).await,
                Ok(false) => Ok(()),
                Err(error) => Err(error),
            };
            child.cancel();
            worked
        };
        let monitor = self.queue.monitor(&child);
        let (worked, (), ()) = tokio::join!(work, maintenance, monitor);
        worked
    }

    /// Makes the database belong to this worker's network; returns false when cancelled meanwhile.
    async fn claim(&self, token: &CancellationToken) -> Result<bool> {
        let mut back_off = BackOff::for_services();
        loop {
            match self.store.claim_network(self.queue.network()).await {
                Ok(()) => return Ok(true),
                Err(error) if error.class() == Class::Retry => {
                    if !pause(&error, &mut back_off, token).await {
                        return Ok(false);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn work(&self, token: &CancellationToken) -> Result<()> {
        let mut back_off = BackOff::for_services();
        loop {
            let mut opened_at = None;
            let opened = tokio::select! {
                () = token.cancelled() => return Ok(()),
                opened = Session::open(&self.queue, self.options.prefetch) => opened,
            };
            let error = match opened {
                Ok(session) => {
                    self.queue.is_working();
                    opened_at = Some(Instant::now());
                    match self.consume(session, token).await? {
                        Ended::Cancelled => return Ok(()),
                        Ended::Lost(error) => error,
                    }
                }
                Err(error) => error,
            };
            let wait = back_off.after(opened_at.map_or(Duration::ZERO, |at: Instant| at.elapsed()));
            tracing::warn!(%error, retry_in = ?wait, "consuming pages pauses");
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Runs one session.
    async fn consume(&self, mut session: Session, token: &CancellationToken) -> Result<Ended> {
        let ended = self.consume_on(&mut session, token).await;
        match &ended {
            Ok(Ended::Lost(_)) => {}
            Ok(Ended::Cancelled) | Err(_) => session.requeue_rest().await,
        }
        ended
    }

    async fn consume_on(&self, session: &mut Session, token: &CancellationToken) -> Result<Ended> {
        loop {
            let gathered = tokio::select! {
                () = token.cancelled() => return Ok(Ended::Cancelled),
                gathered = self.gather(session) => gathered,
            };
            let mut batch = match gathered {
                Ok(batch) => batch,
                Err(error) => return Ok(Ended::Lost(error)),
            };
            let (tag, deliveries, foreign) =
                (batch.last_tag, batch.deliveries, batch.foreign.take());
            if deliveries > 0 {
                if let Outcome::Interrupted = self.store_batch(batch, token).await? {
                    return Ok(Ended::Cancelled);
                }
                if let Err(error) = session.ack_through(tag).await {
                    // Committed and not acknowledged: the pages come again, and the log knows their envelopes.
                    return Ok(Ended::Lost(error));
                }
                self.queue.is_working();
            }
            if let Some(reason) = foreign {
                return Err(Error::ForeignPage { queue: self.queue.names().queue.clone(), reason });
            }
        }
    }

    /// Waits for a first delivery, then adds further ones until the batch is full or the linger is over.
    async fn gather(&self, session: &mut Session) -> Result<Batch> {
        let mut batch = Batch::default();
        batch.add(session.next().await?, self.queue.network());
        let deadline = Instant::now() + self.options.linger;
        while !batch.is_full(&self.options) {
            match tokio::time::timeout_at(deadline, session.next()).await {
                Ok(delivery) => batch.add(delivery?, self.queue.network()),
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    async fn store_batch(&self, batch: Batch, token: &CancellationToken) -> Result<Outcome> {
        for (body, reason) in batch.undecodable {
            tracing::error!(%reason, bytes = body.len(), "a message in the queue is not a page; it is parked");
            // It has no topic; all of its bytes are kept as the message.
            let envelope =
                wire::Envelope { topic: bytes::Bytes::new(), timestamp_ns: 0, message: body };
            if !self
                .park("queue", &envelope.into(), &format!("not a page: {reason}"), token)
                .await?
            {
                return Ok(Outcome::Interrupted);
            }
        }
        // Depth first, so that pages are stored in their order.
        let mut work = vec![batch.pages];
        let mut back_off = BackOff::for_services();
        while let Some(pages) = work.pop() {
            if pages.is_empty() {
                continue;
            }
            let started = std::time::Instant::now();
            let error = match self.store.append(&pages).await {
                Ok(appended) => {
                    metrics::histogram!("xmtp_indexer_commit_seconds").record(started.elapsed());
                    metrics::counter!("xmtp_indexer_envelopes_ingested_total")
                        .increment(appended.fresh);
                    metrics::counter!("xmtp_indexer_envelopes_duplicate_total")
                        .increment(appended.duplicates);
                    metrics::counter!("xmtp_indexer_envelopes_parked_total")
                        .increment(appended.parked);
                    if appended.conflicts > 0 {
                        metrics::counter!("xmtp_indexer_envelopes_conflicting_total")
                            .increment(appended.conflicts);
                        tracing::error!(
                            conflicts = appended.conflicts,
                            "a source sent other bytes under a number that it had used before: \
                             they are kept in ground.conflicts"
                        );
                    }
                    back_off.reset();
                    continue;
                }
                Err(error) => error,
            };
            let (next, kept) = after_refusal(error.class(), pages);
            match next {
                Next::Stop => return Err(error.into()),
                Next::Halves(first, second) => work.extend([second, first]),
                Next::Forget => tracing::error!(%error, "progress cannot be stored; it is skipped"),
                Next::Park(source, record) => {
                    if !self.park(&source, &record, &error.to_string(), token).await? {
                        return Ok(Outcome::Interrupted);
                    }
                }
                Next::Wait => {
                    work.extend(kept);
                    if !pause(&error, &mut back_off, token).await {
                        return Ok(Outcome::Interrupted);
                    }
                }
            }
        }
        Ok(Outcome::Durable)
    }

    /// Parks a record; returns false when it was cancelled meanwhile.
    async fn park(
        &self,
        source: &str,
        record: &Record,
        reason: &str,
        token: &CancellationToken,
    ) -> Result<bool> {
        let kept = park(&self.store, source, record, reason, token).await?;
        if kept {
            metrics::counter!("xmtp_indexer_envelopes_parked_total").increment(1);
        }
        Ok(kept)
    }
}

/// Parks a record, however long the database is away; returns false when it was cancelled meanwhile.
pub(crate) async fn park(
    store: &Store,
    source: &str,
    record: &Record,
    reason: &str,
    token: &CancellationToken,
) -> Result<bool> {
    let mut back_off = BackOff::for_services();
    loop {
        match store.park(source, record, reason).await {
            Ok(()) => return Ok(true),
            Err(error) if error.class() == Class::Retry => {
                if !pause(&error, &mut back_off, token).await {
                    return Ok(false);
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits before the next attempt; `false` when cancelled meanwhile.
async fn pause(error: &store::Error, back_off: &mut BackOff, token: &CancellationToken) -> bool {
    let wait = back_off.next();
    metrics::counter!("xmtp_indexer_commit_retries_total").increment(1);
    tracing::warn!(%error, retry_in = ?wait, "the database does not take pages; they stay in the queue");
    tokio::select! {
        () = token.cancelled() => false,
        () = tokio::time::sleep(wait) => true,
    }
}

/// Maintains the partitions of the log, at once and then every minute: makes them ahead of the log, so that appends seldom
/// have to, freezes those that are full, and drops those whose envelopes were all erased.
async fn maintain(store: Store, token: CancellationToken) {
    loop {
        let maintained = tokio::select! {
            // A vacuum may take minutes. Dropping it closes its connection, and the next round does it again.
            () = token.cancelled() => return,
            maintained = store.maintain() => maintained,
        };
        match maintained {
            Ok(done) if done == Maintained::default() => {}
            Ok(Maintained { made, frozen, dropped }) => {
                tracing::info!(made, frozen, dropped, "maintained the partitions of the log");
            }
            Err(error) => {
                tracing::warn!(%error, "cannot maintain the partitions of the log; trying again in a minute")
            }
        }
        tokio::select! {
            () = token.cancelled() => return,
            () = tokio::time::sleep(Duration::from_secs(60)) => {}
        }
    }
}

#[cfg(test)]
mod tests;
