//! Test support around the database that `#[sqlx::test]` creates for each test.

use sqlx::{AssertSqlSafe, ConnectOptions as _, postgres::PgConnectOptions};

use crate::database::{Options, Store};

pub(crate) struct TestDatabase {
    pub(crate) store: Store,
    options: PgConnectOptions,
}

impl TestDatabase {
    /// A store on a test's database.
    pub(crate) async fn on(options: PgConnectOptions) -> TestDatabase {
        let url = options.to_url_lossy().to_string();
        TestDatabase { store: Store::connect(Options::new(url)).await.unwrap(), options }
    }

    /// How to reach it.
    pub(crate) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        self.options.to_url_lossy().to_string()
    }

    /// The address of another database of the same server.
    pub(crate) fn url_of(&self, database: &str) -> String {
        self.options.clone().database(database).to_url_lossy().to_string()
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.options.get_database().unwrap()
    }

    /// Its URL, for another client.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        self.options.clone().username(user).password(password).to_url_lossy().to_string()
    }

    /// Runs statements that return nothing.
    pub(crate) async fn execute(&self, statements: &str) {
        let mut connection = self.store.connection().await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut *connection)
            .await
            .unwrap();
    }

    /// The one value that a statement returns.
    pub(crate) async fn value<T>(&self, statement: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let mut connection = self.store.connection().await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(statement.to_owned()))
            .fetch_one(&mut *connection)
            .await
            .unwrap()
    }
}

/// An envelope of these parts.
pub(crate) fn envelope(topic: &str, timestamp_ns: u64, message: &'static [u8]) -> wire::Envelope {
    wire::Envelope {
        topic: bytes::Bytes::copy_from_slice(topic.as_bytes()),
        timestamp_ns,
        message: bytes::Bytes::from_static(message),
    }
}
