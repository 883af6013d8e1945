//! One moment of the database, for everything that one request asks.

use std::sync::atomic::{AtomicU64, Ordering};

use deadpool_postgres::{Client, Object};
use tokio_postgres::{Row, types::ToSql};

use super::{
    page::{Page, PageRequest},
    statement::{Filter, List, Value},
};
use crate::{
    database::Store,
    error::{Error, Result},
    log::Position,
};

/// The projections that readers read. The head of an answer is where the slowest of them stands.
pub(super) const SERVING: [&str; 9] = [
    "envelopes",
    "topics",
    "accounts",
    "contact_bundles",
    "invites",
    "conversations",
    "messages",
    "undecodables",
    "welcomes",
];

/// Prepared statements that a connection keeps at most: filters combine to more texts than a server should hold.
const PREPARED: usize = 400;

/// One read-only transaction on one connection: whatever is asked of it is answered as of the same moment. Questions
/// may be asked side by side; they are sent without waiting for one another.
///
/// [`Snapshot::close`] gives the connection back. A snapshot that is dropped instead (its request was cancelled)
/// closes the connection, because nobody knows what still runs on it.
pub struct Snapshot {
    client: Option<Client>,
    head: Position,
    log_head: Position,
    statements: AtomicU64,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("head", &self.head)
            .field("statements", &self.statements())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Holds this moment for a reader.
    ///
    /// # Errors
    /// When Postgres fails or no connection becomes free.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let client = self.client().await?;
        if client.statement_cache.size() > PREPARED {
            client.statement_cache.clear();
        }
        let mut snapshot = Snapshot {
            client: Some(client),
            head: Position(0),
            log_head: Position(0),
            statements: AtomicU64::new(0),
        };
        let (began, heads) = tokio::join!(
            snapshot.connection()?.batch_execute("begin isolation level repeatable read read only"),
            snapshot.one(
                "select position,
                        (select case count(*) when cardinality($1::text[]) then min(position) else 0 end
                           from derived.watermarks where name = any($1))
                   from ground.head",
                vec![Box::new(SERVING.as_slice())],
            ),
        );
        began?;
        let heads = heads?;
        let (log, derived): (i64, i64) = (heads.try_get(0)?, heads.try_get(1)?);
        snapshot.log_head = Position(log);
        snapshot.head = Position(log.min(derived));
        Ok(snapshot)
    }
}

impl Snapshot {
    /// Up to where everything that this snapshot tells is complete.
    #[must_use]
    pub fn head(&self) -> Position {
        self.head
    }

    /// How many envelopes are in the log that readers cannot see yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        u64::try_from(self.log_head.0 - self.head.0).unwrap_or(0)
    }

    /// The position of the newest envelope in the log.
    #[must_use]
    pub fn log_head(&self) -> Position {
        self.log_head
    }

    /// How many statements were asked so far, the opening one among them.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Ends the moment, and gives the connection back.
    ///
    /// # Errors
    /// When Postgres fails; the connection is then closed.
    pub async fn close(mut self) -> Result<()> {
        self.connection()?.batch_execute("commit").await?;
        // Taking it out is what keeps `drop` from closing it.
        drop(self.client.take());
        Ok(())
    }

    fn connection(&self) -> Result<&Client> {
        // Only `close` takes the connection away, and it takes the snapshot with it.
        self.client.as_ref().ok_or(Error::Exhausted)
    }

    pub(super) async fn rows(&self, text: &str, values: Vec<Value>) -> Result<Vec<Row>> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let client = self.connection()?;
        let statement = client.prepare_cached(text).await?;
        let values: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
        Ok(client.query(&statement, &values).await?)
    }

    pub(super) async fn one(&self, text: &str, values: Vec<Value>) -> Result<Row> {
        let mut rows = self.rows(text, values).await?;
        rows.pop().ok_or_else(|| Error::Contradiction {
            table: "ground.head",
            what: "a row that must be there is missing".into(),
        })
    }

    /// A page of a list.
    pub(super) async fn page<O, T>(
        &self,
        list: &List,
        filter: Filter,
        request: &PageRequest<O>,
        read: fn(&Row) -> Result<T>,
    ) -> Result<Page<T>> {
        if filter.is_nothing() {
            return Ok(Page::empty());
        }
        let (text, values) = filter.page(list, request);
        let rows = self.rows(&text, values).await?;
        Ok(request.page(rows.iter().map(read).collect::<Result<_>>()?))
    }

    /// How many rows a filter matches.
    pub(super) async fn count(&self, list: &List, filter: Filter) -> Result<u64> {
        if filter.is_nothing() {
            return Ok(0);
        }
        let (text, values) = filter.count(list);
        let count: i64 = self.one(&text, values).await?.try_get(0)?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    /// Rows found by keys.
    pub(super) async fn find<T>(
        &self,
        text: &'static str,
        values: Vec<Value>,
        read: fn(&Row) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.rows(text, values).await?.iter().map(read).collect()
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            // Out of the pool, and closed.
            drop(Object::take(client));
        }
    }
}
