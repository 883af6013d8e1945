//! Envelopes that the log cannot take, kept with their bytes and the reason. A row leaves `ground.parked` only when the log
//! has taken its envelope, or when an operator drops it.

use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use wire::Envelope;

use crate::{
    append::{Origin, Record},
    database::Store,
    error::Result,
    time,
};

mod retry;

pub use retry::Retried;

/// One parked envelope.
#[derive(Clone, Debug)]
pub struct Parked {
    /// Its number, for `parked show|retry|drop`.
    pub id: i64,
    /// The name of the source that it came from.
    pub source: String,
    /// Why it could not be stored.
    pub reason: String,
    /// The envelope as it came. For a queue message that is no page: an empty topic, and the whole body as the message.
    pub record: Record,
    /// When it was parked.
    pub parked_at: DateTime<Utc>,
    /// How often it has been retried without success.
    pub tries: i32,
    /// When it was last retried.
    pub last_tried_at: Option<DateTime<Utc>>,
}

/// A row for [`insert`].
pub(crate) struct NewParked<'a> {
    fingerprint: [u8; 32],
    source: &'a str,
    reason: String,
    record: &'a Record,
}

/// Makes the row of a record that was refused. Equal records get equal fingerprints, so that parking one twice is free.
pub(crate) fn row<'a>(
    source: &'a str,
    record: &'a Record,
    reason: impl Into<String>,
) -> NewParked<'a> {
    let Envelope { topic, timestamp_ns, message } = &record.envelope;
    let mut hash = Sha256::new();
    hash.update(timestamp_ns.to_be_bytes());
    hash.update(u64::try_from(topic.len()).unwrap_or(u64::MAX).to_be_bytes());
    hash.update(topic);
    // Of two numbered envelopes that are otherwise equal both are evidence.
    if let Some(Origin { space, sequence }) = &record.origin {
        hash.update(space.to_be_bytes());
        hash.update(sequence.to_be_bytes());
    }
    hash.update(message);
    NewParked { fingerprint: hash.finalize().into(), source, reason: reason.into(), record }
}

/// Parks rows, and counts those that are new in `ground.counts`; returns how many that are. Callers that also append call
/// this before they lock the head: the row of the count is locked until the commit, too.
pub(crate) async fn insert(connection: &mut PgConnection, rows: &[NewParked<'_>]) -> Result<u64> {
    if rows.is_empty() {
        return Ok(0);
    }
    // Sorted: two transactions that park the same envelopes wait for each other in one order only.
    let mut rows: Vec<&NewParked<'_>> = rows.iter().collect();
    rows.sort_unstable_by_key(|row| row.fingerprint);
    let envelopes = || rows.iter().map(|row| &row.record.envelope);
    let origins = || rows.iter().map(|row| row.record.origin.as_ref());
    let fingerprints: Vec<&[u8]> = rows.iter().map(|row| row.fingerprint.as_slice()).collect();
    let sources: Vec<&str> = rows.iter().map(|row| row.source).collect();
    let reasons: Vec<&str> = rows.iter().map(|row| row.reason.as_str()).collect();
    let topics: Vec<&[u8]> = envelopes().map(|envelope| envelope.topic.as_ref()).collect();
    let times: Vec<i64> = envelopes().map(|envelope| time::to_db(envelope.timestamp_ns)).collect();
    let spaces: Vec<Option<i32>> =
        origins().map(|origin| origin.map(|origin| origin.space.cast_signed())).collect();
    let sequences: Vec<Option<i64>> =
        origins().map(|origin| origin.map(|origin| origin.sequence.cast_signed())).collect();
    let messages: Vec<&[u8]> = envelopes().map(|envelope| envelope.message.as_ref()).collect();
    let parked = sqlx::query!(
        "insert into ground.parked (fingerprint, source, reason, topic, timestamp_ns, space, sequence, message)
         select * from unnest($1::bytea[], $2::text[], $3::text[], $4::bytea[], $5::bigint[], $6::integer[], $7::bigint[], $8::bytea[])
         on conflict (fingerprint) do nothing",
        &fingerprints as &[&[u8]],
        &sources as &[&str],
        &reasons as &[&str],
        &topics as &[&[u8]],
        &times,
        &spaces as &[Option<i32>],
        &sequences as &[Option<i64>],
        &messages as &[&[u8]],
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    count(connection, i64::try_from(parked).unwrap_or(i64::MAX)).await?;
    Ok(parked)
}

/// Adds to the number of parked envelopes.
async fn count(connection: &mut PgConnection, added: i64) -> Result<()> {
    if added != 0 {
        sqlx::query!("update ground.counts set rows = rows + $1 where name = 'parked'", added)
            .execute(connection)
            .await?;
    }
    Ok(())
}

impl Store {
    /// Parks one record.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn park(&self, source: &str, record: &Record, reason: &str) -> Result<()> {
        let mut tx = self.begin().await?;
        insert(&mut tx, &[row(source, record, reason)]).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Reads parked envelopes, the oldest first: `limit` of them after the number `after`.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn parked_list(&self, after: i64, limit: i64) -> Result<Vec<Parked>> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query_as!(
            Row,
            "select id, source, reason, topic, timestamp_ns, space, sequence, message, parked_at, tries, last_tried_at
               from ground.parked where id > $1 order by id limit $2",
            after,
            limit,
        )
        .fetch_all(&mut *connection)
        .await?;
        Ok(rows.into_iter().map(Parked::from).collect())
    }

    /// Reads one parked envelope.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn parked_get(&self, id: i64) -> Result<Option<Parked>> {
        let mut connection = self.connection().await?;
        let row = sqlx::query_as!(
            Row,
            "select id, source, reason, topic, timestamp_ns, space, sequence, message, parked_at, tries, last_tried_at
               from ground.parked where id = $1",
            id,
        )
        .fetch_optional(&mut *connection)
        .await?;
        Ok(row.map(Parked::from))
    }

    /// Reads the numbers of parked envelopes, the oldest first: `limit` of them after the number `after`.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn parked_ids(&self, after: i64, limit: i64) -> Result<Vec<i64>> {
        let mut connection = self.connection().await?;
        Ok(sqlx::query_scalar!(
            "select id from ground.parked where id > $1 order by id limit $2",
            after,
            limit,
        )
        .fetch_all(&mut *connection)
        .await?)
    }

    /// Deletes parked envelopes for good; returns how many there were.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn parked_drop(&self, ids: &[i64]) -> Result<u64> {
        let mut tx = self.begin().await?;
        let dropped = delete(&mut tx, ids).await?;
        tx.commit().await?;
        Ok(dropped)
    }

    /// Returns how many envelopes are parked.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn parked_count(&self) -> Result<i64> {
        let mut connection = self.connection().await?;
        Ok(sqlx::query_scalar!("select rows from ground.counts where name = 'parked'")
            .fetch_one(&mut *connection)
            .await?)
    }
}

/// Deletes rows, and subtracts them from the count.
async fn delete(connection: &mut PgConnection, ids: &[i64]) -> Result<u64> {
    let deleted = sqlx::query!("delete from ground.parked where id = any($1)", ids)
        .execute(&mut *connection)
        .await?
        .rows_affected();
    count(connection, -i64::try_from(deleted).unwrap_or(i64::MAX)).await?;
    Ok(deleted)
}

struct Row {
    id: i64,
    source: String,
    reason: String,
    topic: Vec<u8>,
    timestamp_ns: i64,
    space: Option<i32>,
    sequence: Option<i64>,
    message: Vec<u8>,
    parked_at: DateTime<Utc>,
    tries: i32,
    last_tried_at: Option<DateTime<Utc>>,
}

impl From<Row> for Parked {
    fn from(row: Row) -> Parked {
        let origin = row.space.zip(row.sequence).map(|(space, sequence)| Origin {
            space: space.cast_unsigned(),
            sequence: sequence.cast_unsigned(),
        });
        let envelope = Envelope {
            topic: row.topic.into(),
            timestamp_ns: time::from_db(row.timestamp_ns),
            message: row.message.into(),
        };
        Parked {
            id: row.id,
            source: row.source,
            reason: row.reason,
            record: Record { envelope, origin },
            parked_at: row.parked_at,
            tries: row.tries,
            last_tried_at: row.last_tried_at,
        }
    }
}

#[cfg(test)]
mod tests;
