//! One state of the database, for all reads of one request.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::postgres::PgRow;
use tokio::sync::Mutex;

use super::{
    page::{Page, PageRequest},
    row::Columns,
    session::Session,
    statement::{Filter, List, Statement},
    value::{DbKey, Value},
};
use crate::{
    database::Store,
    error::{Error, Result},
    log::Position,
};

/// The head of the log, the served head, and the names of the projections behind it: one row.
macro_rules! heads {
    () => {
        "select head.position as log, served.position as head, served.stale from ground.head, derived.served"
    };
}

pub(super) use heads;

/// The columns of that row.
const HEADS: usize = 3;

/// Begins a transaction in one round trip. The lock comes before the first query, and so before the snapshot is taken:
/// no table is swapped for a rebuilt one between the snapshot and the last statement.
const BEGIN: &str = concat!(
    "begin isolation level repeatable read read only; \
     lock table derived.served in access share mode; ",
    heads!()
);

/// One state of the database on one connection. It is a read-only transaction, in which any number of statements may be
/// sent, or a single-statement read, whose one statement also returns the heads and needs no transaction around it.
///
/// [`Snapshot::close`] returns the connection. A snapshot that is dropped instead (its request was cancelled) closes the
/// connection, which ends the statement that still runs there.
pub struct Snapshot {
    // One statement at a time. Futures of one request share it.
    session: Mutex<Session>,
    kind: Kind,
    heads: OnceLock<Heads>,
    statements: AtomicU64,
    took_ns: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Transaction,
    SingleStatement,
}

/// How far the log and what is derived from it are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heads {
    /// The served head: the position that answers speak for.
    pub served: Position,
    /// The position of the newest envelope in the log.
    pub log: Position,
    /// The projections behind the served head, by name.
    pub stale: Vec<String>,
}

impl Heads {
    pub(super) fn from_columns(columns: &mut Columns<'_>) -> Result<Heads> {
        Ok(Heads {
            log: Position(columns.get()?),
            served: Position(columns.get()?),
            stale: columns.get()?,
        })
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("kind", &self.kind)
            .field("heads", &self.heads.get())
            .field("statements", &self.statements())
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a snapshot that answers any number of statements: a transaction, begun in one round trip.
    ///
    /// # Errors
    /// When PostgreSQL fails or no connection becomes free.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let snapshot = self.open_snapshot(Kind::Transaction).await?;
        let began = Instant::now();
        let row = snapshot.session.lock().await.batch(BEGIN).await?.ok_or_else(no_heads)?;
        snapshot.count_statement(began);
        let _ = snapshot.heads.set(Heads::from_columns(&mut Columns::of(&row, 0))?);
        Ok(snapshot)
    }

    /// Opens a snapshot that answers one statement, which returns the heads as well: nothing is sent before or after it.
    /// [`Snapshot::head`] and the like are 0 until the statement was answered; a second one is [`Error::Spent`].
    ///
    /// # Errors
    /// When no connection becomes free.
    pub async fn single_statement(&self) -> Result<Snapshot> {
        self.open_snapshot(Kind::SingleStatement).await
    }

    async fn open_snapshot(&self, kind: Kind) -> Result<Snapshot> {
        Ok(Snapshot {
            session: Mutex::new(Session::borrow(self).await?),
            kind,
            heads: OnceLock::new(),
            statements: AtomicU64::new(0),
            took_ns: AtomicU64::new(0),
        })
    }
}

fn no_heads() -> Error {
    let what = "its row, or the one of derived.served, is missing".into();
    Error::Contradiction { table: "ground.head", what }
}

impl Snapshot {
    /// The served head: the position that everything in this snapshot speaks for.
    #[must_use]
    pub fn head(&self) -> Position {
        self.heads.get().map_or(Position(0), |heads| heads.served)
    }

    /// The number of envelopes in the log that are not served yet.
    #[must_use]
    pub fn lag(&self) -> u64 {
        u64::try_from(self.log_head().0 - self.head().0).unwrap_or(0)
    }

    /// The position of the newest envelope in the log.
    #[must_use]
    pub fn log_head(&self) -> Position {
        self.heads.get().map_or(Position(0), |heads| heads.log)
    }

    /// The projections behind the served head: rows of their tables are missing or older than the rest.
    #[must_use]
    pub fn stale(&self) -> &[String] {
        self.heads.get().map_or(&[], |heads| &heads.stale)
    }

    /// Can it answer more than one statement?
    pub(super) fn is_transaction(&self) -> bool {
        self.kind == Kind::Transaction
    }

    /// The number of statements sent so far, the one that begins a transaction included.
    #[must_use]
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// The time that their answers took, all together.
    #[must_use]
    pub fn took(&self) -> Duration {
        Duration::from_nanos(self.took_ns.load(Ordering::Relaxed))
    }

    fn count_statement(&self, began: Instant) {
        self.statements.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.took_ns.fetch_add(took, Ordering::Relaxed);
    }

    /// Ends the snapshot and returns its connection. The end of a transaction is a round trip, for which no answer needs to
    /// wait: all rows are there already.
    ///
    /// # Errors
    /// When PostgreSQL fails; the connection is then closed.
    pub async fn close(self) -> Result<()> {
        let mut session = self.session.into_inner();
        // The connection is closed if an abandoned statement is still running.
        if self.kind == Kind::Transaction && !session.is_pending() {
            session.batch("commit").await?;
        }
        session.close();
        Ok(())
    }

    async fn ask(&self, statement: Statement) -> Result<Vec<PgRow>> {
        #[cfg(test)]
        if super::tests::explain::keeps(&statement) {
            return Err(Error::Spent);
        }
        let mut session = self.session.lock().await;
        if self.kind == Kind::SingleStatement && self.statements() > 0 {
            return Err(Error::Spent);
        }
        let began = Instant::now();
        let rows = session.rows(statement).await;
        self.count_statement(began);
        rows
    }

    /// The rows of a statement. Their first column is never null: in a single-statement read, a row without it means that
    /// there are none.
    pub(super) async fn rows(&self, mut statement: Statement) -> Result<Rows> {
        if self.kind == Kind::Transaction {
            return Ok(Rows { rows: self.ask(statement).await?, first: 0 });
        }
        statement.text = with_heads(&statement.text).into();
        let mut rows = Rows { rows: self.ask(statement).await?, first: HEADS };
        let row = rows.rows.first().ok_or_else(no_heads)?;
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

    /// The number of rows that a filter matches.
    pub(super) async fn count(&self, list: &List, filter: Filter) -> Result<u64> {
        Ok(self.counts(list, filter).await?.pop().unwrap_or(0))
    }

    /// The number of rows that a filter matches under each of its parents, in their order.
    pub(super) async fn counts(&self, list: &List, filter: Filter) -> Result<Vec<u64>> {
        self.rows(filter.count(list)).await?.iter().map(|mut columns| columns.count()).collect()
    }

    /// The rows of a statement.
    pub(super) async fn find<T>(
        &self,
        text: &'static str,
        values: Vec<Value>,
        read: impl Fn(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.rows(Statement::new(text, values)).await?.read(read)
    }

    /// The rows that have one of these keys: see [`Statement::by_keys`].
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
    let what = "a row belongs to none of the requested lists".into();
    Error::Contradiction { table: "unnest", what }
}

/// The statement that returns the heads before each row of `text`, and once where there is no row. One statement sees one
/// snapshot. Only a nested loop can join like this, and it keeps the order of the rows.
fn with_heads(text: &str) -> String {
    [
        concat!(
            "select heads.log, heads.head, heads.stale, q.* from (",
            heads!(),
            ") heads left join lateral ("
        ),
        text,
        ") q on true",
    ]
    .concat()
}

/// The rows of an answer.
pub(super) struct Rows {
    rows: Vec<PgRow>,
    first: usize,
}

impl Rows {
    pub(super) fn iter(&self) -> impl Iterator<Item = Columns<'_>> {
        self.rows.iter().map(|row| Columns::of(row, self.first))
    }

    pub(super) fn read<T>(&self, read: impl Fn(&mut Columns<'_>) -> Result<T>) -> Result<Vec<T>> {
        self.iter().map(|mut columns| read(&mut columns)).collect()
    }
}
