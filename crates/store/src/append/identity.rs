//! Identity of envelopes: by `(timestamp_ns, digest)`, or by the number that the source assigned.

use std::collections::{HashMap, HashSet};

use sqlx::PgConnection;
use wire::Digest;

use super::{Candidate, count};
use crate::{copy::Copy, error::Result, time};

/// What the log has of some candidates, by their index.
#[derive(Default)]
pub(super) struct Known {
    /// In the log, with the same bytes.
    same: HashSet<usize>,
    /// Under its number the log has other bytes.
    other: HashSet<usize>,
}

/// What the log knows of these candidates, and the head of the log at the same moment.
pub(super) async fn known(
    connection: &mut PgConnection,
    candidates: &[Candidate<'_>],
) -> Result<(i64, Known)> {
    let mut known = Known::default();
    let (mut times, mut digests, mut by_digest) = (Vec::new(), Vec::new(), Vec::new());
    let (mut spaces, mut sequences, mut hashes, mut by_number) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (index, candidate) in candidates.iter().enumerate() {
        let digest = candidate.digest.as_bytes().as_slice();
        match candidate.origin {
            None => {
                times.push(time::to_db(candidate.envelope.timestamp_ns));
                digests.push(digest);
                by_digest.push(index);
            }
            Some(origin) => {
                spaces.push(origin.space.cast_signed());
                sequences.push(origin.sequence.cast_signed());
                hashes.push(digest);
                by_number.push(index);
            }
        }
    }
    // The head comes with the first row, or alone where nothing is known. One statement sees one moment.
    let rows = sqlx::query!(
        r#"select h.position as "head!", u.nth as "nth?"
             from ground.head h
             left join (select u.nth
                          from unnest($1::bigint[], $2::bytea[]) with ordinality as u (timestamp_ns, digest, nth)
                          join ground.identities i on i.timestamp_ns = u.timestamp_ns and i.digest = u.digest) u on true"#,
        &times,
        &digests as &[&[u8]]
    )
    .fetch_all(&mut *connection)
    .await?;
    let index = |indexes: &[usize], nth: i64| {
        usize::try_from(nth - 1).ok().and_then(|nth| indexes.get(nth).copied())
    };
    let head = rows.first().map_or(0, |row| row.head);
    known.same.extend(rows.iter().filter_map(|row| index(&by_digest, row.nth?)));
    if !by_number.is_empty() {
        let rows = sqlx::query!(
            r#"select u.nth as "nth!", s.digest = u.digest as "same!"
                 from unnest($1::integer[], $2::bigint[], $3::bytea[]) with ordinality as u (space, sequence, digest, nth)
                 join ground.sequences s on s.space = u.space and s.sequence = u.sequence"#,
            &spaces,
            &sequences,
            &hashes as &[&[u8]]
        )
        .fetch_all(connection)
        .await?;
        for row in rows {
            let into = if row.same { &mut known.same } else { &mut known.other };
            into.extend(index(&by_number, row.nth));
        }
    }
    Ok((head, known))
}

/// The identity of a candidate within a batch.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Digest(u64, Digest),
    Number(u32, u64),
}

fn key(candidate: &Candidate<'_>) -> Key {
    match candidate.origin {
        None => Key::Digest(candidate.envelope.timestamp_ns, candidate.digest),
        Some(origin) => Key::Number(origin.space, origin.sequence),
    }
}

/// The candidates that the log does not have, each identity once.
pub(super) fn fresh<'a, 'b>(
    candidates: &'b [Candidate<'a>],
    known: &Known,
) -> Vec<&'b Candidate<'a>> {
    let mut claimed = HashSet::with_capacity(candidates.len());
    let unknown = candidates
        .iter()
        .enumerate()
        .filter(|(index, _)| !known.same.contains(index) && !known.other.contains(index));
    unknown.filter(|(_, candidate)| claimed.insert(key(candidate))).map(|(_, one)| one).collect()
}

/// Keeps candidates whose number belongs to other bytes, of the log or of an earlier candidate. Returns how many came.
pub(super) async fn keep_conflicts(
    connection: &mut PgConnection,
    candidates: &[Candidate<'_>],
    known: &Known,
) -> Result<u64> {
    let mut first: HashMap<Key, Digest> = HashMap::new();
    let mut conflicts = Vec::new();
    for (index, candidate) in candidates.iter().enumerate() {
        let Some(origin) = candidate.origin else { continue };
        let other = match known.same.contains(&index) {
            true => false,
            false if known.other.contains(&index) => true,
            false => *first.entry(key(candidate)).or_insert(candidate.digest) != candidate.digest,
        };
        if other {
            conflicts.push((origin, candidate));
        }
    }
    if conflicts.is_empty() {
        return Ok(0);
    }
    conflicts.sort_by_key(|(origin, candidate)| (*origin, candidate.digest));
    let kept = sqlx::query!(
        "insert into ground.conflicts (space, sequence, digest, source, timestamp_ns, topic, message)
         select * from unnest($1::integer[], $2::bigint[], $3::bytea[], $4::smallint[], $5::bigint[], $6::bytea[], $7::bytea[])
         on conflict (space, sequence, digest) do nothing",
        &conflicts.iter().map(|(origin, _)| origin.space.cast_signed()).collect::<Vec<_>>(),
        &conflicts.iter().map(|(origin, _)| origin.sequence.cast_signed()).collect::<Vec<_>>(),
        &conflicts.iter().map(|(_, one)| one.digest.as_bytes().as_slice()).collect::<Vec<_>>() as &[&[u8]],
        &conflicts.iter().map(|(_, one)| one.source).collect::<Vec<_>>(),
        &conflicts.iter().map(|(_, one)| time::to_db(one.envelope.timestamp_ns)).collect::<Vec<_>>(),
        &conflicts.iter().map(|(_, one)| one.envelope.topic.as_ref()).collect::<Vec<_>>() as &[&[u8]],
        &conflicts.iter().map(|(_, one)| one.envelope.message.as_ref()).collect::<Vec<_>>() as &[&[u8]]
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if kept > 0 {
        sqlx::query!(
            "update ground.counts set rows = rows + $1 where name = 'conflicts'",
            i64::try_from(kept).unwrap_or(i64::MAX)
        )
        .execute(connection)
        .await?;
    }
    Ok(count(conflicts.len()))
}

/// Writes the identities of candidates that take the positions behind `head`.
pub(super) async fn insert(
    connection: &mut PgConnection,
    fresh: &[&Candidate<'_>],
    head: i64,
) -> Result<()> {
    let (mut digests, mut sequences) = (Copy::new(3), Copy::new(4));
    let (mut any_digest, mut any_sequence) = (false, false);
    for (candidate, position) in fresh.iter().zip(head + 1..) {
        let digest = candidate.digest.as_bytes();
        match candidate.origin {
            None => {
                any_digest = true;
                digests.row();
                digests.i64(time::to_db(candidate.envelope.timestamp_ns));
                digests.bytes(digest);
                digests.i64(position);
            }
            Some(origin) => {
                any_sequence = true;
                sequences.row();
                sequences.i32(origin.space.cast_signed());
                sequences.i64(origin.sequence.cast_signed());
                sequences.i64(position);
                sequences.bytes(digest);
            }
        }
    }
    if any_digest {
        digests.send(connection, "ground.identities (timestamp_ns, digest, position)").await?;
    }
    if any_sequence {
        sequences.send(connection, "ground.sequences (space, sequence, position, digest)").await?;
    }
    Ok(())
}
