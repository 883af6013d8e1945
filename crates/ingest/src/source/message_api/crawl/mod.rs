//! Discovery of legacy history: nodes answer only about topics that are named, most names follow from wallets, and
//! envelopes name further wallets.
//!
//! From seeds outwards: a wallet's derivable topics are queried (in both spellings), their envelopes go into the queue
//! like all others, and the genuine parties that they name are next. The progress of every topic is stored in the
//! database together with the wallets that it named, after the broker has confirmed the envelopes: an interrupted crawl
//! continues where it stopped, and nothing is queried twice. Conversations (`m-…`) and preferences cannot be derived from
//! anything public: the report states how many there must be.

mod step;

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message as _;
use serde::Serialize;
use store::Store;
use store::crawl::{CrawlTopic, CrawlTotals, NewCrawlTopic};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::proto::message_api::IndexCursor;
use wire::{Address, Verifier};

use super::ask::{Asker, Nodes};
use super::edges::{lower_case_topics_of, topics_of};
use super::node::{Answer, QUERY_TOPICS, Question};
use crate::budget::Budget;
use crate::error::Result;
use crate::pager::PageOptions;
use crate::queue::Queue;
use crate::queue::publisher::{Publisher, PublisherOptions};
use crate::source::{NodeError, Outbox, Source};

/// Wallets whose topics (four names in two spellings) fill a query.
const ACCOUNTS_AT_ONCE: i64 = (QUERY_TOPICS / 8) as i64;

/// How far a crawl may go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrawlOptions {
    /// Requests of this run.
    pub max_requests: Option<u64>,
    /// Envelopes of this run.
    pub max_envelopes: Option<u64>,
    /// Wallets of this run.
    pub max_accounts: Option<u64>,
    /// Steps from a seed.
    pub max_depth: Option<u32>,
    /// Envelopes of one topic; larger ones are left where they are. Some inboxes are nothing but spam.
    pub max_topic_envelopes: u64,
    /// Ask for the spelling of early clients, too.
    pub lower_case: bool,
    /// Ask for the direct-message topic of each pair that only invitations are known of; usually empty, and cheap.
    pub invited_pairs: bool,
}

impl Default for CrawlOptions {
    fn default() -> Self {
        Self {
            max_requests: None,
            max_envelopes: None,
            max_accounts: None,
            max_depth: None,
            max_topic_envelopes: 100_000,
            lower_case: true,
            invited_pairs: true,
        }
    }
}

/// Where a crawl starts and what it works with.
#[derive(Clone, Debug)]
pub struct Crawl {
    /// The queue that envelopes go into.
    pub queue: Queue,
    /// Where progress is kept.
    pub store: Store,
    /// The node to query.
    pub source: Source,
    /// Wallets to begin with.
    pub accounts: Vec<Address>,
    /// Topics known from elsewhere, e.g. conversations of one's own users.
    pub topics: Vec<String>,
    /// How far to go.
    pub options: CrawlOptions,
}

/// Where a running crawl is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// Requests of this run.
    pub requests: u64,
    /// Envelopes of this run.
    pub envelopes: u64,
    /// Wallets visited in this run.
    pub accounts: u64,
    /// Over all runs.
    pub totals: CrawlTotals,
}

/// Why a crawl ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// Nothing is left to ask for.
    Finished,
    /// By its `max_requests`.
    Requests,
    /// By its `max_envelopes`.
    Envelopes,
    /// By its `max_accounts`.
    Accounts,
    /// Only wallets beyond its `max_depth` are left.
    Depth,
    /// From outside.
    Cancelled,
}

/// What a crawl has reached, and what it has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Why it ended.
    pub stopped: Stopped,
    /// Of this run, and over all runs.
    pub progress: Progress,
    /// Conversations that exist and cannot be reached: one for each genuine invitation found, less those whose names were
    /// passed in. Their names are sealed in the invitations.
    pub conversations_out_of_reach: i64,
    /// Wallets whose preferences cannot be reached: their topics follow from private keys.
    pub preferences_out_of_reach: i64,
}

/// Crawls until nothing is left, the budget is used up, or it is cancelled. What it did so far is kept in every case.
///
/// # Errors
/// When the node's address is no address, or database or queue fail for good.
pub async fn run(
    crawl: Crawl,
    progress: watch::Sender<Progress>,
    token: CancellationToken,
) -> Result<Report> {
    let nodes = Nodes::at(&crawl.source.urls)?;
    let topics: Vec<String> = crawl
        .topics
        .iter()
        .filter(|name| !name.is_empty() && !name.contains('\0'))
        .cloned()
        .collect();
    crawl.store.crawl_seed(&crawl.accounts, &topics).await?;
    let stop = CancellationToken::new();
    let (publisher, publishing) =
        Publisher::start(crawl.queue.clone(), PublisherOptions::default(), stop.clone());
    let outbox = Outbox::new(
        publisher,
        crawl.store.clone(),
        &crawl.source.name,
        PageOptions::default(),
        PublisherOptions::default().window_bytes,
    );
    let mut run = Run {
        asker: Asker::new(nodes, Budget::new(crawl.source.budget), 0),
        store: crawl.store,
        options: crawl.options,
        given: topics.len(),
        verifier: Verifier::default(),
        progress: Progress::default(),
        told: progress,
        outbox,
    };
    let crawled = tokio::select! {
        // The queue may be away for long: then unconfirmed envelopes are abandoned, and queried again next time.
        () = overdue(&token) => Ok(Stopped::Cancelled),
        crawled = run.crawl(&token) => crawled,
    };
    stop.cancel();
    let _ = publishing.await;
    let report = run.report(crawled?).await?;
    run.told.send_replace(report.progress);
    Ok(report)
}

/// Cancelled, and granted time to end in order.
async fn overdue(token: &CancellationToken) {
    token.cancelled().await;
    tokio::time::sleep(std::time::Duration::from_secs(15)).await;
}

struct Run {
    asker: Asker,
    outbox: Outbox,
    store: Store,
    options: CrawlOptions,
    given: usize,
    verifier: Verifier,
    progress: Progress,
    told: watch::Sender<Progress>,
}

impl Run {
    async fn crawl(&mut self, token: &CancellationToken) -> Result<Stopped> {
        loop {
            self.progress.requests = self.asker.requests();
            self.progress.totals = self.store.crawl_totals().await?;
            self.told.send_replace(self.progress);
            if let Some(stopped) = self.used_up(token) {
                return Ok(stopped);
            }
            let topics = self.store.crawl_next_topics(QUERY_TOPICS as i64).await?;
            if !topics.is_empty() {
                self.read(topics, token).await?;
                continue;
            }
            if let Some(stopped) = self.visit_next().await? {
                return Ok(stopped);
            }
        }
    }

    fn used_up(&self, token: &CancellationToken) -> Option<Stopped> {
        let over = |limit: Option<u64>, used: u64| limit.is_some_and(|limit| used >= limit);
        if token.is_cancelled() {
            Some(Stopped::Cancelled)
        } else if over(self.options.max_requests, self.progress.requests) {
            Some(Stopped::Requests)
        } else if over(self.options.max_envelopes, self.progress.envelopes) {
            Some(Stopped::Envelopes)
        } else {
            None
        }
    }

    /// Puts the topics of the next wallets on the list.
    async fn visit_next(&mut self) -> Result<Option<Stopped>> {
        let left = self.options.max_accounts.map_or(i64::MAX, |limit| {
            i64::try_from(limit.saturating_sub(self.progress.accounts)).unwrap_or(i64::MAX)
        });
        let depth = self
            .options
            .max_depth
            .map_or(i32::MAX, |depth| i32::try_from(depth).unwrap_or(i32::MAX));
        if self.progress.totals.accounts_waiting == 0 {
            return Ok(Some(Stopped::Finished));
        }
        if left == 0 {
            return Ok(Some(Stopped::Accounts));
        }
        let next = self.store.crawl_next_accounts(ACCOUNTS_AT_ONCE.min(left), depth).await?;
        if next.is_empty() {
            return Ok(Some(Stopped::Depth));
        }
        let mut topics = Vec::new();
        for (account, depth) in &next {
            let new = |lower_case| move |topic| NewCrawlTopic { topic, depth: *depth, lower_case };
            topics.extend(topics_of(*account).into_iter().map(new(false)));
            if self.options.lower_case {
                topics.extend(lower_case_topics_of(*account).into_iter().map(new(true)));
            }
        }
        let accounts: Vec<Address> = next.iter().map(|(account, _)| *account).collect();
        self.store.crawl_visit(&accounts, &topics).await?;
        self.progress.accounts += accounts.len() as u64;
        Ok(None)
    }

    /// Queries topics with the same cursor once, and advances them.
    async fn read(&mut self, topics: Vec<CrawlTopic>, token: &CancellationToken) -> Result<()> {
        let after = topics.first().and_then(|topic| topic.cursor.as_ref()).and_then(read_cursor);
        let mut work = vec![topics];
        while let Some(topics) = work.pop() {
            let names = topics.iter().map(|topic| topic.topic.clone()).collect();
            let question = Question { topics: names, after: after.clone(), ..Question::default() };
            match self.asker.ask(question, token).await {
                Ok(Some(answer)) => self.keep(&topics, answer, token).await?,
                Ok(None) => return Ok(()),
                Err(error) => work.extend(self.refused(topics, &error).await?),
            }
        }
        Ok(())
    }

    /// Finds the topic that the node does not answer about.
    async fn refused(
        &self,
        mut topics: Vec<CrawlTopic>,
        error: &NodeError,
    ) -> Result<Vec<Vec<CrawlTopic>>> {
        if let [topic] = topics.as_slice() {
            self.store.crawl_refused(&topic.topic, &error.to_string()).await?;
            return Ok(Vec::new());
        }
        let second = topics.split_off(topics.len() / 2);
        Ok(vec![second, topics])
    }

    async fn keep(
        &mut self,
        topics: &[CrawlTopic],
        answer: Answer,
        token: &CancellationToken,
    ) -> Result<()> {
        let found = step::found(topics, &answer.envelopes, &self.options, &self.verifier);
        self.progress.envelopes += answer.envelopes.len() as u64;
        let records = answer.envelopes.into_iter().map(Into::into);
        let last = self.outbox.put(records, token).await?;
        self.outbox.confirmed(last).await?;
        let cursor = answer.next.map(|cursor| cursor.encode_to_vec());
        self.store
            .crawl_step(&found.steps, cursor.as_deref(), &found.accounts, &found.topics)
            .await?;
        Ok(())
    }

    async fn report(&mut self, stopped: Stopped) -> Result<Report> {
        self.progress.requests = self.asker.requests();
        self.progress.totals = self.store.crawl_totals().await?;
        let given = i64::try_from(self.given).unwrap_or(i64::MAX);
        Ok(Report {
            stopped,
            progress: self.progress,
            conversations_out_of_reach: (self.progress.totals.invitations - given).max(0),
            preferences_out_of_reach: self.progress.totals.accounts_visited,
        })
    }
}

fn read_cursor(bytes: &Bytes) -> Option<IndexCursor> {
    IndexCursor::decode(bytes.as_ref()).ok()
}

/// Envelopes of each topic, by name.
type Counts<'a> = HashMap<&'a str, (i64, i64)>;
