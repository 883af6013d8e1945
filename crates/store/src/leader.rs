//! One reader a source, whatever the number of processes: leadership by an advisory lock of PostgreSQL.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};

use crate::{database::Store, error::Result};

/// How often a leader looks at its connection, and others at the lock.
pub const LEAD_EVERY: Duration = Duration::from_secs(1);

/// The lock of a source, held for as long as this lives.
#[derive(Debug)]
pub struct Leadership {
    store: Store,
    source: String,
    /// `None` while PostgreSQL is away.
    connection: Option<PgConnection>,
}

impl Store {
    /// Takes the lead of a source, unless another process has it.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn lead(&self, source: &str) -> Result<Option<Leadership>> {
        let connection = self.lock_source(source).await?;
        Ok(connection.map(|connection| Leadership {
            store: self.clone(),
            source: source.to_owned(),
            connection: Some(connection),
        }))
    }

    /// The connection that holds the lock of a source, unless another has it.
    async fn lock_source(&self, source: &str) -> Result<Option<PgConnection>> {
        // Of its own: one of the pool would take the lock along to its next user.
        let mut connection = self.own_connection().await?;
        // The server gives up a peer that is gone without a word within some twenty seconds, and the lock with it. On a
        // Unix socket these settings mean nothing.
        sqlx::raw_sql(
            "set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 3; set tcp_keepalives_count = 3;
             set tcp_user_timeout = 15000",
        )
        .execute(&mut connection)
        .await?;
        let held = sqlx::query_scalar!(
            r#"select pg_try_advisory_lock(hashtextextended('xmtp-indexer source ' || $1, 0)) as "held!""#,
            source
        )
        .fetch_one(&mut connection)
        .await?;
        if held {
            return Ok(Some(connection));
        }
        connection.close().await?;
        Ok(None)
    }
}

impl Leadership {
    /// Waits until another process leads. While PostgreSQL is away no other process can take the lead, so this one continues.
    pub async fn lost(&mut self) {
        loop {
            tokio::time::sleep(LEAD_EVERY).await;
            if let Some(connection) = &mut self.connection {
                if matches!(
                    tokio::time::timeout(5 * LEAD_EVERY, connection.ping()).await,
                    Ok(Ok(()))
                ) {
                    continue;
                }
                self.connection = None;
            }
            let locked =
                tokio::time::timeout(10 * LEAD_EVERY, self.store.lock_source(&self.source));
            match locked.await {
                Err(_) => {}
                Ok(Ok(None)) => return,
                Ok(Ok(connection)) => self.connection = connection,
                Ok(Err(error)) => {
                    tracing::debug!(source = self.source, %error, "cannot renew the lead of the source");
                }
            }
        }
    }

    /// Releases the lead, so that another process can take it at once.
    pub async fn release(self) {
        if let Some(connection) = self.connection {
            // An error means that the connection is gone, and the lock with it.
            let _ = connection.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

    use crate::testing::TestDatabase;

    #[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
    async fn one_leads_and_another_takes_over(_: PgPoolOptions, options: PgConnectOptions) {
        let db = TestDatabase::on(options).await;
        let first = db.store.lead("node").await.unwrap().unwrap();
        assert!(db.store.lead("node").await.unwrap().is_none());
        assert!(db.store.lead("other").await.unwrap().is_some());
        first.release().await;
        let mut second = db.store.lead("node").await.unwrap().unwrap();
        // Its connection dies, as after a failover, and no other process takes the lead meanwhile: it continues.
        let end = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and database =
                   (select oid from pg_database where datname = current_database())";
        db.execute(end).await;
        let waited = tokio::time::timeout(std::time::Duration::from_secs(4), second.lost()).await;
        assert!(waited.is_err(), "no other process led");
        assert!(db.store.lead("node").await.unwrap().is_none(), "it holds the lock again");
        // It dies again, and this time another process is quicker.
        db.execute(end).await;
        let third = async {
            loop {
                if let Some(third) = db.store.lead("node").await.unwrap() {
                    return third;
                }
            }
        }
        .await;
        tokio::time::timeout(std::time::Duration::from_secs(30), second.lost()).await.unwrap();
        drop(third);
    }
}
