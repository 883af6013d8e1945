//! From the queue into the log: takes pages, appends many at once, and acknowledges after the commit.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::{Class, Maintained, Page, Record, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::back_off::BackOff;
use crate::error::Result;
use crate::queue::consumer::{Delivery, Session};
use crate::queue::settle::{Next, after_refusal};
use crate::queue::{Queue, page};

/// How much goes into one commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerOptions {
    /// Pages that the broker hands out in advance: about twice what a commit takes.
    pub prefetch: u16,
    /// A commit takes no further page from this many envelopes on.
    pub batch_envelopes: usize,
    /// A commit takes no further page from this many bytes on.
    pub batch_bytes: usize,
    /// How long a commit that is not full waits for further pages.
    #[serde(with = "crate::seconds")]
    pub linger: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            prefetch: 64,
            batch_envelopes: 4_096,
            batch_bytes: 4 << 20,
            linger: Duration::from_millis(5),
        }
    }
}

/// Takes pages and appends them to the log. Any number of them may run.
#[derive(Clone, Debug)]
pub struct Worker {
    /// Where pages come from.
    pub queue: Queue,
    /// Where they go.
    pub store: Store,
    /// How much at once.
    pub options: WorkerOptions,
}

/// Several deliveries that become one commit.
#[derive(Default)]
struct Batch {
    pages: Vec<Page>,
    undecodable: Vec<(bytes::Bytes, page::PageError)>,
    last_tag: u64,
    deliveries: usize,
    records: usize,
    bytes: usize,
}

impl Batch {
    fn add(&mut self, delivery: Delivery) {
        self.last_tag = delivery.tag;
        self.deliveries += 1;
        self.bytes += delivery.body.len();
        if delivery.redelivered {
            metrics::counter!("xmtp_indexer_pages_redelivered_total").increment(1);
        }
        match page::decode(delivery.body.clone()) {
            Ok(page) => {
                self.records += page.records.len();
                self.pages.push(page);
            }
            Err(reason) => self.undecodable.push((delivery.body, reason)),
        }
    }

    /// The broker sends nothing more while all that it may hand out is in here, so waiting for more would be in vain.
    fn is_full(&self, options: &WorkerOptions) -> bool {
        self.records >= options.batch_envelopes
            || self.bytes >= options.batch_bytes
            || self.deliveries >= usize::from(options.prefetch)
    }
}

/// How a batch ended.
enum Outcome {
    Durable,
    Interrupted,
}

impl Worker {
    /// Works until cancelled, through every failure of broker and database; returns an error only for what waiting cannot
    /// heal. What was taken and not committed when it ends goes back into the queue.
    ///
    /// # Errors
    /// When the database says that it will never take anything, e.g. for want of permissions or of a migration.
    pub async fn run(self, token: CancellationToken) -> Result<()> {
        let child = token.child_token();
        let maintenance = maintain(self.store.clone(), child.clone());
        let work = async {
            let worked = self.work(&token).await;
            child.cancel();
            worked
        };
        let (worked, ()) = tokio::join!(work, maintenance);
        worked
    }

    async fn work(&self, token: &CancellationToken) -> Result<()> {
        let mut back_off = BackOff::for_services();
        loop {
            let opened = tokio::select! {
                () = token.cancelled() => return Ok(()),
                opened = Session::open(&self.queue, self.options.prefetch) => opened,
            };
            let lost = match opened {
                Ok(session) => match self.session(session, &mut back_off, token).await? {
                    None => return Ok(()),
                    Some(error) => error,
                },
                Err(error) => error,
            };
            let wait = back_off.next();
            tracing::warn!(%lost, retry_in = ?wait, "taking pages pauses");
            tokio::select! {
                () = token.cancelled() => return Ok(()),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// The life of one channel: `None` when cancelled, else why it ended.
    async fn session(
        &self,
        mut session: Session,
        back_off: &mut BackOff,
        token: &CancellationToken,
    ) -> Result<Option<crate::Error>> {
        loop {
            let gathered = tokio::select! {
                () = token.cancelled() => None,
                gathered = self.gather(&mut session) => Some(gathered),
            };
            let batch = match gathered {
                None => break,
                Some(Ok(batch)) => batch,
                Some(Err(lost)) => return Ok(Some(lost)),
            };
            let tag = batch.last_tag;
            match self.store_batch(batch, token).await? {
                Outcome::Interrupted => break,
                Outcome::Durable => {}
            }
            if let Err(lost) = session.ack_through(tag).await {
                // Committed but not acknowledged: it comes again, and the log does not mind.
                return Ok(Some(lost));
            }
            back_off.reset();
        }
        session.requeue_rest().await;
        Ok(None)
    }

    /// Waits for a first delivery, then takes what comes until the batch is full or the linger is over.
    async fn gather(&self, session: &mut Session) -> Result<Batch> {
        let mut batch = Batch::default();
        batch.add(session.next().await?);
        let deadline = Instant::now() + self.options.linger;
        while !batch.is_full(&self.options) {
            match tokio::time::timeout_at(deadline, session.next()).await {
                Ok(delivery) => batch.add(delivery?),
                Err(_) => break,
            }
        }
        Ok(batch)
    }

    async fn store_batch(&self, batch: Batch, token: &CancellationToken) -> Result<Outcome> {
        for (body, reason) in batch.undecodable {
            tracing::error!(%reason, bytes = body.len(), "a message in the queue is not a page: it is parked");
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
                            "a source gave other bytes under a number that it had given before: \
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
                Next::Forget => tracing::error!(%error, "progress cannot be stored: it is skipped"),
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

/// Waits before the next try; `false` when cancelled meanwhile.
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
