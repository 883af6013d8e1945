//! Reads one source into the queue, in one process at a time.

use std::time::Duration;

use store::{Store, leader::LEAD_EVERY};
use tokio_util::sync::CancellationToken;

use crate::back_off::BackOff;
use crate::budget::Budget;
use crate::error::Result;
use crate::pager::PageOptions;
use crate::queue::Queue;
use crate::queue::publisher::{Publisher, PublisherOptions};
use crate::source::{Known, Outbox, ProgressStore, Reporter, Source, Tools};

/// The options of pullers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullerOptions {
    /// The limits of pages.
    pub pages: PageOptions,
    /// How much may be unconfirmed by the broker.
    pub publisher: PublisherOptions,
    /// How long a stop waits for the broker to confirm what is on its way.
    pub drain: Duration,
}

impl Default for PullerOptions {
    fn default() -> Self {
        Self {
            pages: PageOptions::default(),
            publisher: PublisherOptions::default(),
            drain: Duration::from_secs(20),
        }
    }
}

/// Reads one source into the queue. Of several pullers of one source, in any number of processes, one reads; another takes
/// over within seconds when it ends.
#[derive(Clone, Debug)]
pub struct Puller {
    /// Where pages go.
    pub queue: Queue,
    /// Where the source's progress and the names of topics are.
    pub store: Store,
    /// The source.
    pub source: Source,
    /// The options.
    pub options: PullerOptions,
}

impl Puller {
    /// Reads until it is stopped, through every failure of node, broker and database; then publishes what it has and waits a
    /// while for the confirms.
    ///
    /// # Errors
    /// When an address or an option of the source cannot be used, or the database will never accept the work.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        while let Some(mut lead) = self.lead(&stop).await? {
            let reading = stop.child_token();
            let (name, kind) = (&self.source.name, self.source.kind.as_str());
            let report = Reporter::new(self.store.clone(), name, kind);
            let read = self.read(report.clone(), reading.clone());
            tokio::pin!(read);
            let ended = tokio::select! {
                ended = &mut read => Some(ended),
                () = lead.lost() => None,
            };
            if let Some(ended) = ended {
                lead.release().await;
                return ended;
            }
            tracing::warn!(source = self.source.name, "another process reads this source now");
            report.retire();
            reading.cancel();
            read.await?;
        }
        Ok(())
    }

    /// Waits for the lead of the source; `None` when it was stopped before.
    async fn lead(&self, stop: &CancellationToken) -> Result<Option<store::Leadership>> {
        let mut back_off = BackOff::for_services();
        let mut standing_by = false;
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return Ok(None),
                asked = self.store.lead(&self.source.name) => asked,
            };
            let wait = match asked {
                Ok(Some(lead)) => return Ok(Some(lead)),
                Ok(None) => {
                    if !std::mem::replace(&mut standing_by, true) {
                        tracing::info!(
                            source = self.source.name,
                            "another process reads this source; standing by"
                        );
                    }
                    back_off.reset();
                    LEAD_EVERY
                }
                Err(error) if error.class() == store::Class::Fatal => return Err(error.into()),
                Err(error) => {
                    let wait = back_off.next();
                    tracing::warn!(source = self.source.name, %error, retry_in = ?wait, "cannot take the lead of the source");
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn read(&self, report: Reporter, stop: CancellationToken) -> Result<()> {
        let reader = self.source.reader()?;
        let halt = CancellationToken::new();
        let _on_drop = halt.clone().drop_guard();
        let (publisher, publishing) =
            Publisher::start(self.queue.clone(), self.options.publisher, halt.clone());
        let name = &self.source.name;
        let tools = Tools {
            outbox: Outbox::new(
                publisher,
                self.store.clone(),
                name,
                self.options.pages,
                self.options.publisher.window_bytes,
            ),
            progress: ProgressStore::new(self.store.clone(), name),
            known: Known::new(self.store.clone()),
            budget: Budget::new(self.source.budget),
            report,
            drain: self.options.drain,
        };
        let read = reader.read(tools, stop).await;
        // Everything is confirmed, or it took too long: then the rest is read again by the next run.
        halt.cancel();
        let _ = publishing.await;
        read
    }
}
