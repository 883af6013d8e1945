//! The worker's one transaction: what is new goes into the log, what cannot be stored is parked, progress moves.

mod identity;

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest as _, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;
use wire::{Digest, Envelope};

use crate::{
    copy::Copy,
    database::Store,
    error::{Error, Result},
    log::{self, Position},
    parked, time,
};

/// The number that a source assigned to an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// A range of numbers that is unique in itself; the meaning belongs to the kind of source.
    pub space: u32,
    /// The number within the space.
    pub sequence: u64,
}

/// An envelope as a source sent it. Without an origin its identity is `(timestamp_ns, digest)`, with one it is the origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The envelope.
    pub envelope: Envelope,
    /// The number that the source assigned, where the source numbers envelopes.
    pub origin: Option<Origin>,
}

impl From<Envelope> for Record {
    fn from(envelope: Envelope) -> Record {
        Record { envelope, origin: None }
    }
}

/// How far a shard of a source has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The name of the shard; the meaning belongs to the kind of source.
    pub shard: String,
    /// How far. The stored value never moves back.
    pub upto: i64,
}

/// What one queue message carries: envelopes of one source, and how far into the source they reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The source's name.
    pub source: String,
    /// How far the source has been read once this page is stored.
    pub progress: Vec<Progress>,
    /// The envelopes, in the order received.
    pub records: Vec<Record>,
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
    /// Envelopes under a sequence number that other bytes have: kept in `ground.conflicts`.
    pub conflicts: u64,
    /// The head of the log afterwards; `None` when nothing was added.
    pub head: Option<Position>,
}

/// One envelope that may be stored.
pub(crate) struct Candidate<'a> {
    source: i16,
    envelope: &'a Envelope,
    origin: Option<Origin>,
    digest: Digest,
    payload_key: Uuid,
}

/// One that may not.
struct Refused<'a> {
    source: &'a str,
    record: &'a Record,
    reason: String,
}

impl Store {
    /// Appends pages to the log, in one transaction: all of it or nothing. Appending them again changes nothing.
    ///
    /// Locks are taken in the same order by every appender: parked rows (sorted), the head, evidence of conflicts, counts,
    /// progress (sorted). The head's row is held until the commit, so positions are dense and become visible in order.
    ///
    /// # Errors
    /// See [`Error::class`]: `Retry` when PostgreSQL cannot work now, `Data` when it refuses a value.
    pub async fn append(&self, pages: &[Page]) -> Result<Appended> {
        match self.try_append(pages).await {
            // The log has outrun its partitions. That is no fault of the envelopes.
            Err(error) if is_partition_missing(&error) => {
                self.extend_partitions().await?;
                self.try_append(pages).await
            }
            appended => appended,
        }
    }

    async fn try_append(&self, pages: &[Page]) -> Result<Appended> {
        let sources = self.source_ids(pages.iter().map(|page| page.source.as_str())).await?;
        let (candidates, refused) = admit(pages, &sources)?;
        let mut tx = self.begin().await?;
        let rows: Vec<_> =
            refused.iter().map(|one| parked::row(one.source, one.record, &one.reason)).collect();
        parked::insert(&mut tx, &rows).await?;
        let mut appended = write(&mut tx, &candidates).await?;
        appended.parked = count(refused.len());
        move_progress(&mut tx, pages, &sources).await?;
        tx.commit().await?;
        Ok(appended)
    }
}

/// Appends within a transaction what can be stored; parks nothing. Returns what it did, and for each record that cannot be
/// stored its index over all pages, with the reason.
pub(crate) async fn append_in(
    connection: &mut PgConnection,
    pages: &[Page],
    sources: &HashMap<String, i16>,
) -> Result<(Appended, Vec<(usize, String)>)> {
    let (candidates, refused) = admit(pages, sources)?;
    let appended = write(connection, &candidates).await?;
    let records: Vec<&Record> = pages.iter().flat_map(|page| &page.records).collect();
    let refused = refused
        .into_iter()
        .filter_map(|one| {
            let index = records.iter().position(|record| std::ptr::eq(*record, one.record))?;
            Some((index, one.reason))
        })
        .collect();
    Ok((appended, refused))
}

/// Has the log outrun its partitions?
pub(crate) fn is_partition_missing(error: &Error) -> bool {
    error.code().as_deref() == Some("23514")
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// Splits what may be stored from what may not.
fn admit<'a>(
    pages: &'a [Page],
    sources: &HashMap<String, i16>,
) -> Result<(Vec<Candidate<'a>>, Vec<Refused<'a>>)> {
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    for page in pages {
        let source = *sources.get(&page.source).ok_or_else(|| Error::Contradiction {
            table: "ground.sources",
            what: format!("source {:?} has no number", page.source),
        })?;
        for record in &page.records {
            let envelope = &record.envelope;
            let admitted = match record.origin {
                None => wire::admit(envelope).map(drop),
                Some(_) => wire::admit_numbered(envelope),
            };
            match admitted {
                Ok(()) => candidates.push(Candidate {
                    source,
                    envelope,
                    origin: record.origin,
                    digest: envelope.digest(),
                    payload_key: log::half(&Sha256::digest(&envelope.message)),
                }),
                Err(reason) => refused.push(Refused {
                    source: &page.source,
                    record,
                    reason: reason.to_string(),
                }),
            }
        }
    }
    Ok((candidates, refused))
}

/// Writes those candidates that are new behind the head, in the order received.
async fn write(connection: &mut PgConnection, candidates: &[Candidate<'_>]) -> Result<Appended> {
    let mut appended = Appended::default();
    if candidates.is_empty() {
        return Ok(appended);
    }
    // Most of what is known already is found without holding the head.
    let (seen_head, mut known) = identity::known(connection, candidates).await?;
    let mut fresh = identity::fresh(candidates, &known);
    if !fresh.is_empty() {
        let head = sqlx::query_scalar!("select position from ground.head for update")
            .fetch_one(&mut *connection)
            .await?;
        // Others appended in between; from here on the lock prevents it.
        if head != seen_head {
            known = identity::known(connection, candidates).await?.1;
            fresh = identity::fresh(candidates, &known);
        }
        if !fresh.is_empty() {
            appended.head = Some(insert(connection, &fresh, head).await?);
        }
    }
    appended.fresh = count(fresh.len());
    appended.conflicts = identity::keep_conflicts(connection, candidates, &known).await?;
    appended.duplicates = count(candidates.len()) - appended.fresh - appended.conflicts;
    Ok(appended)
}

/// Writes identities and rows behind `head`, and moves the head.
async fn insert(
    connection: &mut PgConnection,
    fresh: &[&Candidate<'_>],
    head: i64,
) -> Result<Position> {
    identity::insert(connection, fresh, head).await?;
    let mut rows = Copy::new(9);
    let mut position = head;
    for candidate in fresh {
        position += 1;
        rows.row();
        rows.i64(position);
        rows.i64(time::to_db(candidate.envelope.timestamp_ns));
        rows.uuid(candidate.payload_key);
        match candidate.origin {
            Some(origin) => {
                rows.i32(origin.space.cast_signed());
                rows.i64(origin.sequence.cast_signed());
            }
            None => {
                rows.null();
                rows.null();
            }
        }
        rows.i16(candidate.source);
        rows.bytes(&candidate.envelope.topic);
        rows.bytes(candidate.digest.as_bytes());
        rows.bytes(&candidate.envelope.message);
    }
    rows.send(
        connection,
        "ground.envelopes (position, timestamp_ns, payload_key, space, sequence, source, topic, digest, message)",
    )
    .await?;
    sqlx::query!("update ground.head set position = $1", position).execute(connection).await?;
    Ok(Position(position))
}

/// Moves the progress of each shard forward to the greatest of these pages.
async fn move_progress(
    connection: &mut PgConnection,
    pages: &[Page],
    sources: &HashMap<String, i16>,
) -> Result<()> {
    let mut reached: BTreeMap<(i16, &str), i64> = BTreeMap::new();
    for page in pages {
        let Some(source) = sources.get(&page.source) else { continue };
        for progress in &page.progress {
            let upto = reached.entry((*source, &progress.shard)).or_insert(progress.upto);
            *upto = (*upto).max(progress.upto);
        }
    }
    if reached.is_empty() {
        return Ok(());
    }
    let ids: Vec<i16> = reached.keys().map(|(source, _)| *source).collect();
    let shards: Vec<String> = reached.keys().map(|(_, shard)| (*shard).to_owned()).collect();
    let upto: Vec<i64> = reached.into_values().collect();
    sqlx::query!(
        "insert into ground.progress as p (source, shard, upto)
         select * from unnest($1::smallint[], $2::text[], $3::bigint[])
         on conflict (source, shard) do update
            set upto = greatest(p.upto, excluded.upto), updated_at = now()",
        &ids,
        &shards,
        &upto
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
