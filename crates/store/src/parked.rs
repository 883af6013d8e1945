//! What could not be stored in the log: kept with its bytes and the reason, for a person to look at.

use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use sha2::{Digest as _, Sha256};
use tokio_postgres::Row;
use wire::Envelope;

use crate::{database::Store, error::Result, time};

/// One parked envelope.
#[derive(Clone, Debug)]
pub struct Parked {
    /// Its number, for `parked show|retry|drop`.
    pub id: i64,
    /// Where it came from.
    pub source: String,
    /// Why it could not be stored.
    pub reason: String,
    /// The envelope as it was given. For a queue message that is no page: topic empty, message the whole body.
    pub envelope: Envelope,
    /// When.
    pub parked_at: DateTime<Utc>,
}

pub(crate) struct NewParked<'a> {
    pub(crate) fingerprint: [u8; 32],
    source: &'a str,
    reason: &'a str,
    envelope: &'a Envelope,
}

/// The fingerprint makes parking the same thing twice free.
pub(crate) fn row<'a>(source: &'a str, envelope: &'a Envelope, reason: &'a str) -> NewParked<'a> {
    let mut hash = Sha256::new();
    hash.update(envelope.timestamp_ns.to_be_bytes());
    hash.update(u64::try_from(envelope.topic.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(&envelope.topic);
    hash.update(&envelope.message);
    NewParked { fingerprint: hash.finalize().into(), source, reason, envelope }
}

pub(crate) async fn insert(client: &impl GenericClient, rows: &[NewParked<'_>]) -> Result<()> {
    let statement =
        "insert into ground.parked (fingerprint, source, reason, topic, timestamp_ns, message)
         values ($1, $2, $3, $4, $5, $6) on conflict (fingerprint) do nothing";
    for row in rows {
        let statement = client.prepare_cached(statement).await?;
        client
            .execute(
                &statement,
                &[
                    &row.fingerprint.as_slice(),
                    &row.source,
                    &row.reason,
                    &row.envelope.topic.as_ref(),
                    &time::to_db(row.envelope.timestamp_ns),
                    &row.envelope.message.as_ref(),
                ],
            )
            .await?;
    }
    Ok(())
}

impl Store {
    /// Parks one envelope, with the reason in words.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn park(&self, source: &str, envelope: &Envelope, reason: &str) -> Result<()> {
        let client = self.client().await?;
        insert(&client, &[row(source, envelope, reason)]).await
    }

    /// Parked envelopes, oldest first, `limit` of them after `after`.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn parked_list(&self, after: i64, limit: i64) -> Result<Vec<Parked>> {
        let client = self.client().await?;
        let rows = client
            .query(
                "select id, source, reason, topic, timestamp_ns, message, parked_at
                   from ground.parked where id > $1 order by id limit $2",
                &[&after, &limit],
            )
            .await?;
        Ok(rows.iter().map(Parked::from_row).collect())
    }

    /// One parked envelope.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn parked_get(&self, id: i64) -> Result<Option<Parked>> {
        let client = self.client().await?;
        let row = client
            .query_opt(
                "select id, source, reason, topic, timestamp_ns, message, parked_at
                   from ground.parked where id = $1",
                &[&id],
            )
            .await?;
        Ok(row.as_ref().map(Parked::from_row))
    }

    /// Removes parked envelopes; says how many there were.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn parked_drop(&self, ids: &[i64]) -> Result<u64> {
        let client = self.client().await?;
        Ok(client.execute("delete from ground.parked where id = any($1)", &[&ids]).await?)
    }

    /// How many envelopes are parked.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn parked_count(&self) -> Result<i64> {
        let client = self.client().await?;
        Ok(client.query_one("select count(*) from ground.parked", &[]).await?.get(0))
    }
}

impl Parked {
    fn from_row(row: &Row) -> Parked {
        let (topic, message): (&[u8], &[u8]) = (row.get(3), row.get(5));
        Parked {
            id: row.get(0),
            source: row.get(1),
            reason: row.get(2),
            envelope: Envelope {
                topic: topic.to_vec().into(),
                timestamp_ns: time::from_db(row.get(4)),
                message: message.to_vec().into(),
            },
            parked_at: row.get(6),
        }
    }
}
