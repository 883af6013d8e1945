//! The names that the index knows, for nodes that answer queries about named topics only.

use store::{Position, Result, Store};
use wire::{Address, Envelope, TopicKind};

/// Names of topics and wallets, read a page at a time from derived tables. They lag behind the log.
#[derive(Clone, Debug)]
pub struct Known(Store);

impl Known {
    pub(crate) fn new(store: Store) -> Known {
        Known(store)
    }

    /// Reads topics of these kinds in the order of their names: `limit` of them after `after`.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn topics(
        &self,
        after: Option<&str>,
        limit: i64,
        kinds: &[TopicKind],
    ) -> Result<Vec<String>> {
        self.0.known_topics(after, limit, kinds).await
    }

    /// Reads the topics of these kinds with the newest envelopes before a time (nanoseconds since 1970).
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn active_topics(
        &self,
        before_ns: u64,
        limit: i64,
        kinds: &[TopicKind],
    ) -> Result<Vec<String>> {
        self.0.active_topics(before_ns, limit, kinds).await
    }

    /// Whether one of these wallets or topics is unknown.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn lacks(&self, accounts: &[Address], topics: &[String]) -> Result<bool> {
        self.0.lacks(accounts, topics).await
    }

    /// Reads topics of these kinds in the order in which they became known, each with the position of its first envelope:
    /// `limit` of them after `after`.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn topics_since(
        &self,
        after: Position,
        limit: i64,
        kinds: &[TopicKind],
    ) -> Result<Vec<(String, Position)>> {
        self.0.topics_first_seen(after, limit, kinds).await
    }

    /// Reads wallets in the order of their addresses: `limit` of them after `after`.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn accounts(&self, after: Option<Address>, limit: i64) -> Result<Vec<Address>> {
        self.0.known_accounts(after, limit).await
    }

    /// Returns the envelopes that the log does not have.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn missing(&self, envelopes: Vec<Envelope>) -> Result<Vec<Envelope>> {
        let known = self.0.known_envelopes(&envelopes).await?;
        Ok(envelopes.into_iter().zip(known).filter(|(_, known)| !known).map(|(e, _)| e).collect())
    }
}
