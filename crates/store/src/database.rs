//! The pool of connections that everything else borrows from.

mod reader;

use std::{sync::Arc, time::Duration};

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, PgConnection, PgPool, Postgres, Transaction,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use tokio::sync::Semaphore;

use crate::{
    address,
    error::{Error, Result},
};

use reader::Idle;
pub(crate) use reader::Reader;

/// How long a caller waits for a connection before it gets [`Error::Exhausted`].
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for a thread's own connection before one of the common pool is borrowed. Most statements take less.
const SOON: Duration = Duration::from_millis(5);

/// After how long a caller that waits for a connection looks for itself whether the server can be reached.
const PROBE: Duration = Duration::from_millis(500);

/// Prepared statements that a connection keeps at most. Filters combine to more texts than a server should hold.
const PREPARED: usize = 400;

/// How often PostgreSQL looks whether the client of a running statement is still connected.
pub(crate) const CLIENT_CHECK: Duration = Duration::from_millis(200);

/// How to reach the database.
#[derive(Clone)]
pub struct Options {
    /// An address as libpq understands it: `postgres://user:password@host:port/database?sslmode=…`, or `key=value` pairs.
    pub url: String,
    /// At most this many connections.
    pub max_connections: usize,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    /// The role to take on after connecting, so that grants limit what this process may do.
    pub role: Option<String>,
    /// The longest that one statement may take.
    pub statement_timeout: Option<Duration>,
    /// Whether these connections are for [`read`](crate::read). Readers and writers need different plans, see [`session`].
    pub readers: bool,
}

impl Options {
    /// Defaults: 8 connections, no role, no timeout, not for readers.
    #[must_use]
    pub fn new(url: impl Into<String>) -> Self {
        Options {
            url: url.into(),
            max_connections: 8,
            application_name: "xmtp-indexer".into(),
            role: None,
            statement_timeout: None,
            readers: false,
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the address: it may hold a password.
        f.debug_struct("Options")
            .field("max_connections", &self.max_connections)
            .field("application_name", &self.application_name)
            .field("role", &self.role)
            .field("readers", &self.readers)
            .finish_non_exhaustive()
    }
}

/// A pool of connections to the one database. Cloning is cheap.
#[derive(Clone)]
pub struct Store {
    pub(crate) pool: PgPool,
    /// As many permits as the pool has connections, for readers.
    places: Arc<Semaphore>,
    /// Connections of the pool that wait for the next reader, when it is the small one of a thread.
    idle: Arc<Idle>,
    /// Tried first, see [`Store::near`].
    near: Option<Arc<Store>>,
    /// For connections outside of the pool.
    connect: PgConnectOptions,
    target: String,
    options: Arc<Options>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not its options: they hold a password.
        f.debug_struct("Store").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the pool, and checks that the server answers and that the database can hold every text.
    ///
    /// # Errors
    /// [`Error::Address`] for an address that cannot be read, [`Error::Unreachable`] when no server answers there,
    /// [`Error::Encoding`] when the database is not in UTF8.
    pub async fn connect(options: Options) -> Result<Store> {
        let store = Store::open(options)?;
        let mut connection = store.own_connection().await?;
        let (encoding,): (String,) =
            sqlx::query_as("select getdatabaseencoding()::text").fetch_one(&mut connection).await?;
        if encoding != "UTF8" {
            return Err(Error::Encoding { target: store.target, encoding });
        }
        Ok(store)
    }

    /// Opens the pool without asking the server anything yet.
    ///
    /// # Errors
    /// [`Error::Address`] for an address that cannot be read.
    pub fn open(options: Options) -> Result<Store> {
        let connect = address::parse(&options.url)?
            .application_name(&options.application_name)
            .statement_cache_capacity(PREPARED)
            // Statements hold users' input, so they are not logged; callers report errors.
            .disable_statement_logging();
        let target = address::target(&connect);
        let setup: Arc<str> = session(&options).into();
        let readers = options.readers;
        let pool = PgPoolOptions::new()
            .max_connections(u32::try_from(options.max_connections).unwrap_or(u32::MAX))
            .acquire_timeout(PATIENCE)
            // A connection is tested when it comes back. One that breaks in between fails once, and its caller retries.
            .test_before_acquire(false)
            .after_connect(move |connection, _| {
                let setup = AssertSqlSafe(setup.to_string());
                Box::pin(async move { sqlx::raw_sql(setup).execute(connection).await.map(drop) })
            })
            .after_release(move |connection, _| {
                Box::pin(async move { Ok(readers || is_clean(connection).await?) })
            })
            .connect_lazy_with(connect.clone());
        let places = Arc::new(Semaphore::new(options.max_connections));
        Ok(Store {
            pool,
            places,
            idle: Arc::default(),
            near: None,
            connect,
            target,
            options: Arc::new(options),
        })
    }

    /// How many connections it opens at most.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.options.max_connections
    }

    /// The same database, with a pool of its own of at most so many connections.
    ///
    /// # Errors
    /// None that opening this one did not have.
    pub fn limited(&self, max_connections: usize) -> Result<Store> {
        Store::open(Options { max_connections, ..(*self.options).clone() })
    }

    /// The same pool behind a small one for the calling thread: a connection is driven by the thread that opened it, and a
    /// statement from another thread wakes up both. When the thread's own connections are busy, one of the common pool is
    /// borrowed.
    ///
    /// # Errors
    /// None that opening this one did not have.
    pub fn near(&self, connections: usize) -> Result<Store> {
        let near = match connections {
            0 => None,
            _ => Some(Arc::new(self.limited(connections)?)),
        };
        Ok(Store { near, ..self.clone() })
    }

    /// Borrows a connection.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when PostgreSQL is away, [`Error::Exhausted`] when all connections are busy for too long.
    pub async fn connection(&self) -> Result<PoolConnection<Postgres>> {
        if let Some(connection) = self.near.as_ref().and_then(|near| near.pool.try_acquire()) {
            return Ok(connection);
        }
        self.pooled().await
    }

    /// Borrows a connection of the common pool.
    async fn pooled(&self) -> Result<PoolConnection<Postgres>> {
        let mut acquire = std::pin::pin!(self.pool.acquire());
        let acquired = match tokio::time::timeout(PROBE, &mut acquire).await {
            Ok(acquired) => acquired,
            Err(_) => {
                // The pool retries until its timeout, and does not return why it failed.
                if self.pool.size() < self.pool.options().get_max_connections() {
                    self.own_connection().await?;
                }
                acquire.await
            }
        };
        acquired.map_err(|error| self.unreachable(error))
    }

    /// Begins a transaction on a connection of the pool. When it is dropped before it is committed it is rolled back; a
    /// connection whose transaction could not be ended is closed instead of reused.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Postgres>> {
        let connection = self.connection().await?;
        Transaction::begin(connection, None).await.map_err(|error| self.unreachable(error))
    }

    /// A connection of its own, outside of the pool: it ends with its holder, and with it every lock that it holds.
    pub(crate) async fn own_connection(&self) -> Result<PgConnection> {
        let mut connection =
            self.connect.connect().await.map_err(|error| self.unreachable(error))?;
        let setup = AssertSqlSafe(session(&self.options));
        sqlx::raw_sql(setup).execute(&mut connection).await?;
        Ok(connection)
    }

    /// Driver errors of getting a connection, with the address in them.
    fn unreachable(&self, error: sqlx::Error) -> Error {
        match error {
            sqlx::Error::PoolTimedOut => Error::Exhausted,
            error if error.as_database_error().is_none() => {
                Error::Unreachable { target: self.target.clone(), reason: chain(&error) }
            }
            error => error.into(),
        }
    }

    /// Host, port and database, fit for people to read: no credentials.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Closes all connections that are not in use, and those that are when they come back.
    pub async fn close(&self) {
        if let Some(near) = &self.near {
            near.idle.close();
            near.pool.close().await;
        }
        self.pool.close().await;
    }
}

/// Is nothing left of what its last borrower did? A cancelled future can leave a transaction open that the driver knows
/// nothing about: a transaction begins before its statement then. A server that became a standby takes no writes any more.
async fn is_clean(connection: &mut PgConnection) -> sqlx::Result<bool> {
    // By the simple protocol: in the extended one, each message of a statement has a time of its own.
    let row = sqlx::raw_sql(
        "select now() = statement_timestamp() and not current_setting('transaction_read_only')::boolean",
    )
    .fetch_one(connection)
    .await?;
    sqlx::Row::try_get(&row, 0)
}

/// Settings of a session.
///
/// Both kinds plan a statement once, before any value is known: planning anew costs more than most statements. Readers look
/// for every list in an index that has its order: what an average key has looks small enough to be fetched and sorted, but
/// some keys have a hundred thousand times as much. Writers find each row by its key: with a join of another kind a page
/// would read a table from end to end.
fn session(options: &Options) -> String {
    // A session that hangs inside a transaction would hold back every reader.
    let mut setup = String::from(
        "set client_min_messages = warning; set idle_in_transaction_session_timeout = '60s'; set jit = off; set plan_cache_mode = force_generic_plan;",
    );
    setup.push_str(if options.readers {
        " set enable_bitmapscan = off; set enable_memoize = off;"
    } else {
        " set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off;"
    });
    if options.readers {
        setup.push_str(&format!(
            " set client_connection_check_interval = {};",
            CLIENT_CHECK.as_millis()
        ));
    }
    if let Some(timeout) = options.statement_timeout {
        setup.push_str(&format!(" set statement_timeout = {};", timeout.as_millis()));
    }
    if let Some(role) = &options.role {
        setup.push_str(&format!(" set role \"{}\";", role.replace('"', "\"\"")));
    }
    setup
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(&format!(": {cause_text}"));
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
