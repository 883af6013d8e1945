//! The pool of connections that everything else borrows from.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::{
    Hook, HookError, Manager, ManagerConfig, Pool, PoolError, RecyclingMethod, Runtime,
    TimeoutType, Timeouts,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::{Error, Result};

/// How long to wait for a connection. Whoever waits for an answer is told in time that all are busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long to wait for a thread's own connection before another is borrowed. Most answers are found in less; opening a
/// connection takes several times as long, and while passwords are worked out for it the thread does nothing else.
const SOON: Duration = Duration::from_millis(5);

/// How to reach the database.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// At most this many connections.
    pub max_connections: usize,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    /// The role to take on after connecting, so that grants limit what this process may do.
    pub role: Option<String>,
    /// The longest that one statement may take.
    pub statement_timeout: Option<Duration>,
    /// Are these connections for [`read`](crate::read)? Its statements are written to be planned once, before any value
    /// is known; left to itself, Postgres would plan most of them anew each time, which costs more than answering them.
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
    pub(crate) pool: Pool,
    /// Asked first, see [`Store::near`].
    near: Option<Pool>,
    tls: MakeRustlsConnect,
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
    /// Opens the pool and checks that the server answers.
    ///
    /// # Errors
    /// [`Error::Url`] for an address that is none, [`Error::Unreachable`] when nobody answers there.
    pub async fn connect(options: Options) -> Result<Store> {
        let store = Store::open(options)?;
        store.client().await?.simple_query("select 1").await?;
        Ok(store)
    }

    /// Opens the pool without asking the server anything yet.
    ///
    /// # Errors
    /// [`Error::Url`] for an address that is none.
    pub fn open(options: Options) -> Result<Store> {
        let mut config: tokio_postgres::Config = options.url.parse().map_err(Error::Url)?;
        config
            .application_name(&options.application_name)
            .connect_timeout(Duration::from_secs(5))
            .keepalives_idle(Duration::from_secs(30));
        let (target, tls) = (target(&config), MakeRustlsConnect::new(tls()?));
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config, tls.clone(), recycling);
        let setup = session(&options);
        let pool = Pool::builder(manager)
            .max_size(options.max_connections)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(PATIENCE))
            .create_timeout(Some(Duration::from_secs(10)))
            .post_create(Hook::async_fn(move |client, _| {
                let setup = setup.clone();
                Box::pin(
                    async move { client.batch_execute(&setup).await.map_err(HookError::Backend) },
                )
            }))
            .build()
            .map_err(|error| Error::Unreachable {
                target: target.clone(),
                reason: error.to_string(),
            })?;
        Ok(Store { pool, near: None, tls, target, options: Arc::new(options) })
    }

    /// How many connections it opens at most.
    #[must_use]
    pub fn max_connections(&self) -> usize {
        self.options.max_connections
    }

    /// The same, with at most so many connections.
    ///
    /// # Errors
    /// None that opening this one did not have.
    pub fn limited(&self, max_connections: usize) -> Result<Store> {
        Store::open(Options { max_connections, ..(*self.options).clone() })
    }

    /// The same, with so many connections more that are for one thread: when they are busy, those of this pool are
    /// borrowed. A connection is driven by the thread that opened it, and whoever asks from another has both wake up for
    /// each question.
    ///
    /// # Errors
    /// None that opening this one did not have.
    pub fn near(&self, connections: usize) -> Result<Store> {
        let near = match connections {
            0 => None,
            _ => Some(self.limited(connections)?.pool),
        };
        Ok(Store { near, ..self.clone() })
    }

    /// Borrows a connection.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when Postgres is away, [`Error::Exhausted`] when all connections are busy for too long.
    pub async fn client(&self) -> Result<deadpool_postgres::Client> {
        let mut found = None;
        if let Some(near) = &self.near {
            let soon = Timeouts { wait: Some(SOON), ..near.timeouts() };
            found = match near.timeout_get(&soon).await {
                Err(PoolError::Timeout(TimeoutType::Wait)) => None,
                found => Some(found),
            };
        }
        let found = match found {
            Some(found) => found,
            None => self.pool.get().await,
        };
        found.map_err(|error| match error {
            PoolError::Backend(error) if error.as_db_error().is_none() => {
                Error::Unreachable { target: self.target.clone(), reason: chain(&error) }
            }
            other => other.into(),
        })
    }

    /// What it takes to stop a statement of this database that nobody waits for any more.
    pub(crate) fn tls(&self) -> MakeRustlsConnect {
        self.tls.clone()
    }

    /// Host and port, fit for people to read: no credentials.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }
}

/// Seat belts for a session of ours; a connection that hangs in a transaction would hold back every reader.
fn session(options: &Options) -> String {
    let mut setup = String::from("set idle_in_transaction_session_timeout = '60s'; set jit = off;");
    if options.readers {
        // Every list is sought in an index that has its order. What the average key has looks little enough to be fetched
        // whole and sorted; some keys have a hundred thousand times as much. What hangs on rows is sought for each: to
        // remember what was found costs as much as to find it.
        setup.push_str(
            " set plan_cache_mode = force_generic_plan; set enable_bitmapscan = off; set enable_memoize = off;",
        );
    }
    if let Some(timeout) = options.statement_timeout {
        setup.push_str(&format!(" set statement_timeout = {};", timeout.as_millis()));
    }
    if let Some(role) = &options.role {
        setup.push_str(&format!(" set role \"{}\";", role.replace('"', "\"\"")));
    }
    setup
}

fn tls() -> Result<rustls::ClientConfig> {
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::Unreachable { target: "TLS".into(), reason: error.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn target(config: &tokio_postgres::Config) -> String {
    use tokio_postgres::config::Host;
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".into(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}/{}", config.get_dbname().unwrap_or("postgres"))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
