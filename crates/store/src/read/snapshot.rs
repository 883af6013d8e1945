//! One moment of the database, for everything that one request asks.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::{Client, Object};
use tokio::{runtime::Handle, time::timeout};
use tokio_postgres::{Row, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    page::{Page, PageRequest},
    row::{Columns, DbKey},
    statement::{Filter, HEAD, List, Statement, Value},
};
use crate::{
    database::Store,
    error::{Error, Result},
    log::Position,
};

/// The log's head, and the head of what is served: one row. The latter is where the slowest of the projections stands that
/// readers read; the migrations say which.
pub(super) const HEADS: &str =
    "select head.position as log, least(head.position, served.position) as head
           from ground.head, derived.served";

/// Prepared statements that a connection keeps at most: filters combine to more texts than a server should hold.
const PREPARED: usize = 400;

/// How long stopping a statement may take.
const STOPPING: Duration = Duration::from_secs(5);

/// One moment on one connection: whatever is asked of it is answered as of the same moment. It is a read-only
/// transaction, in which questions may be asked side by side (they are sent without waiting for one another), or a
/// glance, which answers one question.
///
/// [`Snapshot::close`] gives the connection back. A snapshot that is dropped instead (its request was cancelled)
/// has what still runs there stopped, and closes the connection.
pub struct Snapshot {
    client: Option<Client>,
    tls: MakeRustlsConnect,
    /// Only of a glance: is there nothing under way?
    glance: Option<AtomicBool>,
    heads: OnceLock<Heads>,
    statements: AtomicU64,
    /// Nanoseconds.
    took: AtomicU64,
}

/// How far readers and the log are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// Up to where readers see.
    pub serving: Position,
    /// The newest envelope in the log.
    pub log: Position,
}

impl Heads {
    pub(super) fn from_columns(columns: &mut Columns<'_>) -> Result<Heads> {
        Ok(Heads { log: Position(columns.get()?), serving: Position(columns.get()?) })
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("heads", &self.heads.get())
            .field("statements", &self.statements())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Holds this moment for a reader: a transaction, opened in one round trip.
    ///
    /// # Errors
    /// When Postgres fails or no connection becomes free.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let snapshot = self.moment(None).await?;
        let (began, heads) = tokio::join!(
            snapshot.connection()?.batch_execute("begin isolation level repeatable read read only"),
            snapshot.ask(HEADS, &[]),
        );
        began?;
        let heads = heads?;
        let heads = heads.first().ok_or_else(no_head)?;
        let _ = snapshot.heads.set(Heads::from_columns(&mut Columns::of(heads, 0))?);
        Ok(snapshot)
    }

    /// A moment for one question: its statement tells the heads as well as the rows, so that it needs no transaction
    /// around it, and nothing is sent before or after. [`Snapshot::head`] and the like are 0 until it was asked; a second
    /// question is [`Error::Spent`].
    ///
    /// # Errors
    /// When no connection becomes free.
    pub async fn glance(&self) -> Result<Snapshot> {
        self.moment(Some(AtomicBool::new(true))).await
    }

    async fn moment(&self, glance: Option<AtomicBool>) -> Result<Snapshot> {
        let client = self.client().await?;
        if client.statement_cache.size() > PREPARED {
            client.statement_cache.clear();
        }
        Ok(Snapshot {
            client: Some(client),
            tls: self.tls(),
            glance,
            heads: OnceLock::new(),
            statements: AtomicU64::new(0),
            took: AtomicU64::new(0),
        })
    }
}

fn no_head() -> Error {
    Error::Contradiction { table: "ground.head", what: "its row is missing".into() }
}

impl Snapshot {
    /// Up to where everything that this snapshot tells is complete.
    #[must_use]
    pub fn head(&self) -> Position {
        self.heads().serving
    }

    /// How many envelopes are in the log that readers cannot see yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let heads = self.heads();
        u64::try_from(heads.log.0 - heads.serving.0).unwrap_or(0)
    }

    /// The position of the newest envelope in the log.
    #[must_use]
    pub fn log_head(&self) -> Position {
        self.heads().log
    }

    fn heads(&self) -> Heads {
        self.heads.get().copied().unwrap_or_default()
    }

    /// The heads, once they are known: a transaction begins with them, a glance ends with them.
    pub(super) fn known(&self) -> Option<Heads> {
        self.heads.get().copied()
    }

    /// How many statements were asked so far, the opening one of a transaction among them.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// How long their answers took, all together. Those that were under way side by side count each for itself.
    #[must_use]
    pub fn took(&self) -> Duration {
        Duration::from_nanos(self.took.load(Ordering::Relaxed))
    }

    /// Ends the moment, and gives the connection back. A transaction's end is a round trip, for which no answer needs to
    /// wait: all of the moment's rows are there already. A glance has nothing to end.
    ///
    /// # Errors
    /// When Postgres fails; the connection is then closed.
    pub async fn close(mut self) -> Result<()> {
        match &self.glance {
            None => self.connection()?.batch_execute("commit").await?,
            // Its question was dropped before the answer came.
            Some(idle) if !idle.load(Ordering::Acquire) => return Ok(()),
            Some(_) => {}
        }
        // Taking it out is what keeps `drop` from closing it.
        drop(self.client.take());
        Ok(())
    }

    fn connection(&self) -> Result<&Client> {
        // Only `close` takes the connection away, and it takes the snapshot with it.
        self.client.as_ref().ok_or(Error::Exhausted)
    }

    async fn ask(&self, text: &str, values: &[Value]) -> Result<Vec<Row>> {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let client = self.connection()?;
        let began = Instant::now();
        let statement = client.prepare_cached(text).await?;
        #[cfg(test)]
        if super::tests::explain::keeps(text, statement.params(), values) {
            return Err(Error::Spent);
        }
        let values: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
        let rows = client.query(&statement, &values).await;
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.took.fetch_add(took, Ordering::Relaxed);
        Ok(rows?)
    }

    /// The rows of a statement. Their first column is never null: in a glance, a row without it says that there are none.
    pub(super) async fn rows(&self, statement: Statement) -> Result<Rows> {
        let Statement { text, mut values } = statement;
        let Some(idle) = &self.glance else {
            let mut text = text;
            if text.contains(HEAD) {
                values.push(Box::new(self.head().0));
                text = text.replace(HEAD, &format!("${}", values.len())).into();
            }
            return Ok(Rows { rows: self.ask(&text, &values).await?, first: 0 });
        };
        if self.statements() > 0 {
            return Err(Error::Spent);
        }
        let text = glance(&text);
        idle.store(false, Ordering::Release);
        let rows = self.ask(&text, &values).await;
        idle.store(true, Ordering::Release);
        let mut rows = Rows { rows: rows?, first: 2 };
        let row = rows.rows.first().ok_or_else(no_head)?;
        let mut columns = Columns::of(row, 0);
        let _ = self.heads.set(Heads::from_columns(&mut columns)?);
        if columns.missing()? {
            rows.rows.clear();
        }
        Ok(rows)
    }

    /// A page of a list.
    pub(super) async fn page<O, T>(
        &self,
        list: &List,
        filter: Filter,
        request: &PageRequest<O>,
        read: impl Fn(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Page<T>> {
        let mut pages = self.pages(list, filter, request, read).await?;
        Ok(pages.pop().unwrap_or_else(Page::empty))
    }

    /// A page of the list under each parent of the filter, in their order.
    pub(super) async fn pages<O, T>(
        &self,
        list: &List,
        filter: Filter,
        request: &PageRequest<O>,
        read: impl Fn(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Vec<Page<T>>> {
        let numbered = filter.numbered();
        let mut lists: Vec<Vec<T>> = Vec::new();
        lists.resize_with(filter.lists(), Vec::new);
        for mut columns in self.rows(filter.page(list, request)).await?.iter() {
            let number = if numbered { columns.get::<i64>()? } else { 1 };
            let list = usize::try_from(number - 1).ok().and_then(|nth| lists.get_mut(nth));
            list.ok_or_else(no_list)?.push(read(&mut columns)?);
        }
        Ok(lists.into_iter().map(|rows| request.page(rows)).collect())
    }

    /// How many rows a filter matches.
    pub(super) async fn count(&self, list: &List, filter: Filter) -> Result<u64> {
        Ok(self.counts(list, filter).await?.pop().unwrap_or(0))
    }

    /// How many rows a filter matches under each of its parents, in their order.
    pub(super) async fn counts(&self, list: &List, filter: Filter) -> Result<Vec<u64>> {
        self.rows(filter.count(list)).await?.iter().map(|mut columns| columns.count()).collect()
    }

    /// Rows of a statement as it stands.
    pub(super) async fn find<T>(
        &self,
        text: &'static str,
        values: Vec<Value>,
        read: impl Fn(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.rows(Statement::new(text, values)).await?.read(read)
    }

    /// Rows found by keys: see [`Statement::by_keys`].
    pub(super) async fn find_by<K: DbKey, T>(
        &self,
        text: &'static str,
        keys: &[K],
        values: Vec<Value>,
        read: impl Fn(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.rows(Statement::by_keys(text, keys, values)).await?.read(read)
    }
}

fn no_list() -> Error {
    Error::Contradiction { table: "unnest", what: "a row is of no list that was asked for".into() }
}

/// The statement that tells the heads before each row of `text`, and once where there is none. One statement sees one
/// moment. Only a nested loop can join like this, and it keeps the order of the rows.
fn glance(text: &str) -> String {
    let text = text.replace(HEAD, "heads.head");
    format!(
        "select heads.log, heads.head, q.* from ({HEADS}) heads left join lateral ({text}) q on true"
    )
}

/// The rows of an answer.
pub(super) struct Rows {
    rows: Vec<Row>,
    first: usize,
}

impl Rows {
    pub(super) fn iter(&self) -> impl Iterator<Item = Columns<'_>> {
        self.rows.iter().map(|row| Columns::of(row, self.first))
    }

    fn read<T>(&self, read: impl Fn(&mut Columns<'_>) -> Result<T>) -> Result<Vec<T>> {
        self.iter().map(|mut columns| read(&mut columns)).collect()
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        let Some(client) = self.client.take() else { return };
        let Ok(runtime) = Handle::try_current() else {
            drop(Object::take(client));
            return;
        };
        // A server goes on with a statement whose client has left, for as long as statements may. Until it is stopped, its
        // connection counts as one that is used: else there could be any number of them.
        let (stop, tls) = (client.cancel_token(), self.tls.clone());
        runtime.spawn(async move {
            if let Err(error) = timeout(STOPPING, stop.cancel_query(tls)).await {
                tracing::debug!(%error, "a statement that nobody waits for could not be stopped");
            }
            // Out of the pool, and closed.
            drop(Object::take(client));
        });
    }
}
