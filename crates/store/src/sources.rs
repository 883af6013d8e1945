//! How far into each source, and how it is doing.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use tokio_postgres::Row;
use wire::TopicKind;

use crate::{database::Store, error::Result};

/// One configured node endpoint, as the database knows it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name, unique in a deployment.
    pub name: String,
    /// The kind of node.
    pub kind: String,
    /// How far into it; the meaning belongs to the kind.
    pub cursor: Option<Bytes>,
    /// Is a stream open?
    pub connected: bool,
    /// When the newest envelope came from it.
    pub last_envelope_at: Option<DateTime<Utc>>,
    /// What is wrong, in words.
    pub error: Option<String>,
    /// When this was last told.
    pub updated_at: DateTime<Utc>,
}

impl Source {
    fn from_row(row: &Row) -> Source {
        Source {
            name: row.get(0),
            kind: row.get(1),
            cursor: row.get::<_, Option<Vec<u8>>>(2).map(Bytes::from),
            connected: row.get(3),
            last_envelope_at: row.get(4),
            error: row.get(5),
            updated_at: row.get(6),
        }
    }
}

impl Store {
    /// One source.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn source(&self, name: &str) -> Result<Option<Source>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select name, kind, cursor, connected, last_envelope_at, error, updated_at
                   from ground.sources where name = $1",
            )
            .await?;
        Ok(client.query_opt(&statement, &[&name]).await?.as_ref().map(Source::from_row))
    }

    /// All sources by name.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn sources(&self) -> Result<Vec<Source>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select name, kind, cursor, connected, last_envelope_at, error, updated_at
                   from ground.sources order by name",
            )
            .await?;
        Ok(client.query(&statement, &[]).await?.iter().map(Source::from_row).collect())
    }

    /// Tells how a source is doing. Its cursor stays: that moves with the pages it accounts for.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn report_source(
        &self,
        name: &str,
        kind: &str,
        connected: bool,
        last_envelope_at: Option<DateTime<Utc>>,
        error: Option<&str>,
    ) -> Result<()> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "insert into ground.sources (name, kind, connected, last_envelope_at, error)
                 values ($1, $2, $3, $4, $5)
                 on conflict (name) do update
                    set kind = excluded.kind,
                        connected = excluded.connected,
                        last_envelope_at = coalesce(excluded.last_envelope_at, sources.last_envelope_at),
                        error = excluded.error,
                        updated_at = now()",
            )
            .await?;
        client.execute(&statement, &[&name, &kind, &connected, &last_envelope_at, &error]).await?;
        Ok(())
    }

    /// Names of known topics of these kinds, in the order of their names, `limit` of them after `after`.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn known_topics(
        &self,
        after: Option<&str>,
        limit: i64,
        kinds: &[TopicKind],
    ) -> Result<Vec<String>> {
        let client = self.client().await?;
        let kinds: Vec<i16> = kinds.iter().map(|kind| kind.code()).collect();
        let statement = client
            .prepare_cached(
                "select name from derived.topics
                  where name collate \"C\" > $1 and kind = any($2)
                  order by name collate \"C\" limit $3",
            )
            .await?;
        let rows = client.query(&statement, &[&after.unwrap_or(""), &kinds, &limit]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }
}
