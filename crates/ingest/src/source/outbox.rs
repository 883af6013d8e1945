//! The path from a source into the queue: records become pages, and each page has a ticket with which its confirm can be awaited.

use store::{Page, Progress, Record, Store};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};
use crate::pager::{PageOptions, Pager};
use crate::queue::publisher::Publisher;
use crate::worker::park;

/// Identifies a published page; later pages have greater tickets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Publishes the envelopes and the progress of one source. Clones share one order.
#[derive(Clone, Debug)]
pub struct Outbox {
    publisher: Publisher,
    store: Store,
    source: String,
    pages: PageOptions,
    /// Unconfirmed bytes from which records that can wait are held back.
    congested_bytes: usize,
}

impl Outbox {
    pub(crate) fn new(
        publisher: Publisher,
        store: Store,
        source: &str,
        pages: PageOptions,
        congested_bytes: usize,
    ) -> Outbox {
        Outbox { publisher, store, source: source.to_owned(), pages, congested_bytes }
    }

    /// The name of the source, for logs and metrics.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// An empty page of this source that is filled a record at a time.
    pub(crate) fn pager(&self) -> Pager {
        Pager::new(&self.source, self.pages)
    }

    /// Adds a record to a page, and publishes the page when it is full. A record that does not fit into any page is parked.
    pub(crate) async fn push(
        &self,
        pager: &mut Pager,
        record: Record,
        now: Instant,
        stop: &CancellationToken,
    ) -> Result<Option<Ticket>> {
        match pager.push(record, now) {
            Ok(None) => Ok(None),
            Ok(Some(page)) => self.send(page).await.map(Some),
            Err(large) => {
                // What was neither published nor parked must not be accounted for.
                match park(&self.store, &self.source, &large.0, &large.reason(), stop).await? {
                    true => Ok(None),
                    false => Err(Error::Unconfirmed),
                }
            }
        }
    }

    /// Publishes a page, full or not.
    pub(crate) async fn send_rest(&self, pager: &mut Pager) -> Result<Option<Ticket>> {
        match pager.take() {
            Some(page) => self.send(page).await.map(Some),
            None => Ok(None),
        }
    }

    /// Publishes records; returns the ticket of the last page. Waits while too much is unconfirmed.
    ///
    /// # Errors
    /// When the publisher has been stopped, or the database refuses for good to park records that fit into no page.
    pub async fn put(
        &self,
        records: impl IntoIterator<Item = Record>,
        stop: &CancellationToken,
    ) -> Result<Ticket> {
        let mut pager = self.pager();
        let now = Instant::now();
        let mut last = Ticket::default();
        for record in records {
            last = self.push(&mut pager, record, now, stop).await?.unwrap_or(last);
        }
        Ok(self.send_rest(&mut pager).await?.unwrap_or(last))
    }

    /// Publishes progress. What it accounts for must be confirmed already: any worker may commit it before it commits
    /// pages that are still in the queue.
    ///
    /// # Errors
    /// When the publisher has been stopped.
    pub async fn save(&self, progress: Vec<Progress>) -> Result<Ticket> {
        self.send(Page { source: self.source.clone(), progress, records: Vec::new() }).await
    }

    async fn send(&self, page: Page) -> Result<Ticket> {
        self.publisher.send_page(page).await.map(Ticket)
    }

    /// Waits until the page of this ticket and all before it are confirmed.
    ///
    /// # Errors
    /// When the publisher has been stopped.
    pub async fn confirmed(&self, ticket: Ticket) -> Result<()> {
        self.publisher.confirmed(ticket.0).await
    }

    /// The last ticket up to which everything is confirmed.
    #[must_use]
    pub fn last_confirmed(&self) -> Ticket {
        Ticket(self.publisher.last_confirmed())
    }

    /// The ticket of the page that was published last.
    #[must_use]
    pub fn last_sent(&self) -> Ticket {
        Ticket(self.publisher.last_sent())
    }

    /// How many pages wait for a confirm.
    #[must_use]
    pub fn unconfirmed(&self) -> u64 {
        self.last_sent().0.saturating_sub(self.last_confirmed().0)
    }

    /// Whether the broker is away, or so slow that less urgent work should wait.
    #[must_use]
    pub fn is_congested(&self) -> bool {
        self.publisher.spilled() > self.congested_bytes
    }
}
