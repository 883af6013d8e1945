//! The worker's one transaction: what is new goes into the log, what cannot be stored is parked, cursors move.

use std::{
    collections::{BTreeMap, HashSet},
    pin::pin,
};

use bytes::Bytes;
use deadpool_postgres::Transaction;
use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};
use wire::{Digest, Envelope};

use crate::{
    database::Store,
    error::{Error, Result},
    log::Position,
    parked, time,
};

/// What one queue message carries: envelopes of one source, and how far into the source they reach.
#[derive(Clone, Debug)]
pub struct Page {
    /// The source's name.
    pub source: String,
    /// How far into the source this page reaches. Cursors of a source sort as bytes, and the stored one never goes back.
    pub cursor: Option<Bytes>,
    /// The envelopes, in the order received.
    pub envelopes: Vec<Envelope>,
}

/// What an append did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Envelopes that are new in the log.
    pub fresh: u64,
    /// Envelopes that were there already, or came twice.
    pub duplicates: u64,
    /// Envelopes that could not be stored and are parked instead.
    pub parked: u64,
    /// The head of the log afterwards; `None` when nothing was added.
    pub head: Option<Position>,
}

/// One envelope that may be stored.
struct Candidate<'a> {
    source: &'a str,
    topic: &'a str,
    timestamp_ns: i64,
    digest: Digest,
    message: &'a [u8],
}

/// One that may not.
struct Refused<'a> {
    source: &'a str,
    envelope: &'a Envelope,
    reason: String,
}

impl Store {
    /// Appends pages to the log, in one transaction: all of it or nothing. Doing it again changes nothing.
    ///
    /// The order of locks is the same for every appender: identities (sorted), the head, parked rows (sorted), cursors
    /// (sorted). The head's row is held until the commit, so that positions are dense and become visible in order.
    ///
    /// # Errors
    /// See [`Error::class`]: `Retry` when Postgres is in trouble, `Data` when it refuses a value.
    pub async fn append(&self, pages: &[Page]) -> Result<Appended> {
        let (candidates, refused) = admit(pages);
        let mut client = self.client().await?;
        let tx = client.transaction().await?;

        let fresh = claim(&tx, &candidates).await?;
        let head = match fresh.is_empty() {
            true => None,
            false => Some(write(&tx, &fresh).await?),
        };
        let mut refused_sorted: Vec<_> =
            refused.iter().map(|r| parked::row(r.source, r.envelope, &r.reason)).collect();
        refused_sorted.sort_by_key(|row| row.fingerprint);
        parked::insert(&tx, &refused_sorted).await?;
        move_cursors(&tx, pages).await?;
        tx.commit().await?;

        let total: usize = pages.iter().map(|page| page.envelopes.len()).sum();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Ok(Appended {
            fresh: count(fresh.len()),
            duplicates: count(total - fresh.len() - refused.len()),
            parked: count(refused.len()),
            head,
        })
    }
}

/// Splits what may be stored from what may not.
fn admit(pages: &[Page]) -> (Vec<Candidate<'_>>, Vec<Refused<'_>>) {
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    for page in pages {
        for envelope in &page.envelopes {
            match wire::admit(envelope) {
                Ok(topic) => candidates.push(Candidate {
                    source: &page.source,
                    topic,
                    timestamp_ns: time::to_db(envelope.timestamp_ns),
                    digest: envelope.digest(),
                    message: &envelope.message,
                }),
                Err(reason) => {
                    refused.push(Refused {
                        source: &page.source,
                        envelope,
                        reason: reason.to_string(),
                    });
                }
            }
        }
    }
    (candidates, refused)
}

/// Claims the identities that nobody has claimed; gives their candidates in the order received.
async fn claim<'a, 'b>(
    tx: &Transaction<'_>,
    candidates: &'b [Candidate<'a>],
) -> Result<Vec<&'b Candidate<'a>>> {
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    // Sorted: two appenders that meet the same identities wait for each other in one order only.
    let mut keys: Vec<(i64, Digest)> =
        candidates.iter().map(|c| (c.timestamp_ns, c.digest)).collect();
    keys.sort_unstable();
    keys.dedup();
    let times: Vec<i64> = keys.iter().map(|key| key.0).collect();
    let digests: Vec<&[u8]> = keys.iter().map(|key| key.1.as_bytes().as_slice()).collect();
    let statement = tx
        .prepare_cached(
            "insert into ground.identities (timestamp_ns, digest)
             select * from unnest($1::bigint[], $2::bytea[])
             on conflict do nothing
             returning timestamp_ns, digest",
        )
        .await?;
    let mut claimed: HashSet<(i64, Digest)> = HashSet::with_capacity(keys.len());
    for row in tx.query(&statement, &[&times, &digests]).await? {
        let digest: &[u8] = row.get(1);
        let digest = <[u8; 32]>::try_from(digest).map_err(|_| Error::Contradiction {
            table: "ground.identities",
            what: format!("a digest of {} bytes", digest.len()),
        })?;
        claimed.insert((row.get(0), Digest::from(digest)));
    }
    Ok(candidates.iter().filter(|c| claimed.remove(&(c.timestamp_ns, c.digest))).collect())
}

/// Takes the head and writes the rows behind it.
async fn write(tx: &Transaction<'_>, fresh: &[&Candidate<'_>]) -> Result<Position> {
    let head = tx.prepare_cached("select position from ground.head for update").await?;
    let mut position: i64 = tx.query_one(&head, &[]).await?.get(0);

    let copy = tx
        .prepare_cached(
            "copy ground.envelopes (position, timestamp_ns, source, topic, digest, message) from stdin (format binary)",
        )
        .await?;
    let sink = tx.copy_in(&copy).await?;
    let types = [Type::INT8, Type::INT8, Type::TEXT, Type::TEXT, Type::BYTEA, Type::BYTEA];
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &types));
    for c in fresh {
        position += 1;
        writer
            .as_mut()
            .write(&[
                &position,
                &c.timestamp_ns,
                &c.source,
                &c.topic,
                &c.digest.as_bytes().as_slice(),
                &c.message,
            ])
            .await?;
    }
    writer.finish().await?;

    let moved = tx.prepare_cached("update ground.head set position = $1").await?;
    tx.execute(&moved, &[&position]).await?;
    Ok(Position(position))
}

/// Moves each source's cursor forward to the greatest of these pages.
async fn move_cursors(tx: &Transaction<'_>, pages: &[Page]) -> Result<()> {
    let mut cursors: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for page in pages {
        if let Some(cursor) = &page.cursor {
            let stored = cursors.entry(&page.source).or_insert(cursor);
            *stored = (*stored).max(cursor);
        }
    }
    if cursors.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = cursors.keys().copied().collect();
    let values: Vec<&[u8]> = cursors.values().copied().collect();
    let statement = tx
        .prepare_cached(
            "insert into ground.sources (name, kind, cursor)
             select name, '', cursor from unnest($1::text[], $2::bytea[]) as t (name, cursor)
             on conflict (name) do update
                set cursor = greatest(sources.cursor, excluded.cursor), updated_at = now()",
        )
        .await?;
    tx.execute(&statement, &[&names, &values]).await?;
    Ok(())
}

#[cfg(test)]
mod tests;
