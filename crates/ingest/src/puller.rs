//! Reads one source for as long as it runs: its stream, the sweep after each gap, and what has to be read back.
//!
//! The stream is read by a task that does nothing but move bytes ([`crate::tail`]): a node hangs up on slow readers. While
//! the broker is away pages gather in memory up to `spill_bytes`; past that reading pauses, the node hangs up, and the gap
//! is swept. Two pullers on one source give duplicates and nothing worse.

mod pulling;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::Store;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use wire::Verifier;

use crate::ask::Asker;
use crate::budget::{Budget, BudgetOptions};
use crate::error::Result;
use crate::feed::Feed;
use crate::pager::PageOptions;
use crate::queue::Queue;
use crate::queue::publisher::{Publisher, PublisherOptions};
use crate::source::message_api::Node;
use crate::source::{Kind, Source};
use crate::sweep::Sweeper;
use crate::tail::Tail;
use pulling::{Parts, Pulling};

/// How a source is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PullerOptions {
    /// How large pages are.
    pub pages: PageOptions,
    /// How much may be on its way to the broker.
    pub publisher: PublisherOptions,
    /// How many requests the node grants.
    pub budget: BudgetOptions,
    /// How far before a gap its sweep begins: senders set their own times, and some clocks are behind.
    #[serde(with = "crate::seconds")]
    pub overlap: Duration,
    /// How often topics that became known are read back to their beginning. More than a minute lets the node's budget refill.
    #[serde(with = "crate::seconds")]
    pub read_back_every: Duration,
    /// How long a stop waits for the broker to confirm what is on its way.
    #[serde(with = "crate::seconds")]
    pub drain: Duration,
}

impl Default for PullerOptions {
    fn default() -> Self {
        Self {
            pages: PageOptions::default(),
            publisher: PublisherOptions::default(),
            budget: BudgetOptions::default(),
            overlap: Duration::from_secs(120),
            read_back_every: Duration::from_secs(65),
            drain: Duration::from_secs(20),
        }
    }
}

/// Reads one source into the queue.
#[derive(Clone, Debug)]
pub struct Puller {
    /// Where pages go.
    pub queue: Queue,
    /// Where the source's progress and the names of topics are.
    pub store: Store,
    /// What is read.
    pub source: Source,
    /// How.
    pub options: PullerOptions,
}

impl Puller {
    /// Reads until cancelled, through every failure of node, broker and database; then stops reading, sends off what it has
    /// and waits a while for the confirms.
    ///
    /// # Errors
    /// When the address of the node is no address, or the database will never do what is needed.
    pub async fn run(self, token: CancellationToken) -> Result<()> {
        match self.source.kind {
            Kind::MessageApi => self.run_message_api(token).await,
        }
    }

    async fn run_message_api(self, token: CancellationToken) -> Result<()> {
        let node = Node::at(&self.source.url)?;
        let budget = Budget::new(self.options.budget);
        let stop = CancellationToken::new();
        let _on_drop = stop.clone().drop_guard();
        let (publisher, publishing) =
            Publisher::start(self.queue.clone(), self.options.publisher, stop.clone());
        let (tell, told) = mpsc::channel(64);
        let reading = token.child_token();
        let tail = Tail {
            node: node.clone(),
            budget: budget.clone(),
            publisher: publisher.clone(),
            store: self.store.clone(),
            source: self.source.name.clone(),
            pages: self.options.pages,
            longest_pause: (self.options.overlap / 4).max(Duration::from_secs(1)),
            tell,
        };
        let tail = tokio::spawn(tail.run(reading.clone()));
        let feed = Feed {
            publisher: publisher.clone(),
            store: self.store.clone(),
            source: self.source.name.clone(),
            pages: self.options.pages,
        };
        let verifier = Arc::new(Verifier::default());
        let sweeper = |reserve| Sweeper {
            asker: Asker::new(node.clone(), budget.clone(), reserve),
            feed: feed.clone(),
            store: self.store.clone(),
            verifier: Arc::clone(&verifier),
        };
        let (sweeper, reader_back) = (sweeper(0), sweeper(self.options.budget.burst / 2));
        let asking = token.child_token();
        let mut pulling = Pulling::new(Parts {
            store: self.store.clone(),
            source: self.source.clone(),
            options: self.options,
            publisher,
            told,
            reading: tail,
            sweeper,
            reader_back,
            asking,
        });
        drop(feed);
        let pulled = pulling.run(&token).await;
        reading.cancel();
        pulling.finish().await;
        drop(pulling);
        // Everything is confirmed, or it took too long: then the rest is swept by the next run.
        stop.cancel();
        let _ = publishing.await;
        pulled
    }
}
