//! The log as its readers see it: positions, keys, and pages in the order of positions.

use std::cmp::Ordering;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;
use wire::{Address, Digest, Generation, PayloadKind};

use crate::{
    database::Store,
    error::{Error, Result},
    time,
};

/// A place in the log. Positions are dense, begin at 1, and become visible in their own order: a reader that has read up to
/// a position will never see a row appear at or behind it (invariant 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub i64);

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The key of a topic in derived tables: the first half of SHA-256 of its bytes.
#[must_use]
pub fn topic_key(topic: &[u8]) -> Uuid {
    half(&Sha256::digest(topic))
}

/// The key of a payload in derived tables: the first half of SHA-256 of the message. All copies of one invitation or
/// message share it.
#[must_use]
pub fn payload_key(message: &[u8]) -> Uuid {
    half(&Sha256::digest(message))
}

pub(crate) fn half(digest: &[u8]) -> Uuid {
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    Uuid::from_bytes(half)
}

/// One envelope as the log holds it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Where it stands.
    pub position: Position,
    /// The topic's bytes.
    pub topic: Bytes,
    /// The sender's clock, nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// SHA-256(topic ‖ message).
    pub digest: Digest,
    /// The key of its payload.
    pub payload_key: Uuid,
    /// Bytes of the message, also of one that was erased.
    pub size: i32,
    /// The message, or what is kept of an erased one.
    pub content: Content,
    /// When this index stored it.
    pub indexed_at: DateTime<Utc>,
}

/// The message of an envelope.
#[derive(Clone, Debug)]
pub enum Content {
    /// The bytes as published.
    Message(Bytes),
    /// The bytes were erased.
    Erased(Tombstone),
}

/// What is kept of an erased message, so that everything that was counted stays counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// What the message was.
    pub kind: PayloadKind,
    /// Of which generation.
    pub generation: Generation,
    /// The time in the message's header, where it had one.
    pub sent_ns: Option<u64>,
    /// The wallets that the message named.
    pub accounts: Vec<Address>,
}

const COLUMNS: &str = "position, topic, timestamp_ns, digest, payload_key, indexed_at";

fn unreadable(table: &'static str, what: &str) -> Error {
    Error::Contradiction { table, what: what.to_owned() }
}

impl Logged {
    fn from_row(row: &PgRow, content: Content, size: i32) -> Result<Logged> {
        let digest: &[u8] = row.try_get(3)?;
        let topic: &[u8] = row.try_get(1)?;
        Ok(Logged {
            position: Position(row.try_get(0)?),
            topic: Bytes::copy_from_slice(topic),
            timestamp_ns: time::from_db(row.try_get(2)?),
            digest: Digest::try_from(digest)
                .map_err(|_| unreadable("ground.envelopes", "a digest has not 32 bytes"))?,
            payload_key: row.try_get(4)?,
            indexed_at: row.try_get(5)?,
            size,
            content,
        })
    }

    fn message(row: &PgRow) -> Result<Logged> {
        let message: &[u8] = row.try_get(6)?;
        let size = i32::try_from(message.len()).unwrap_or(i32::MAX);
        Logged::from_row(row, Content::Message(Bytes::copy_from_slice(message)), size)
    }

    fn tombstone(row: &PgRow) -> Result<Logged> {
        const TABLE: &str = "ground.tombstones";
        let accounts: Vec<Vec<u8>> = row.try_get(10)?;
        let tombstone = Tombstone {
            // A kind that only a newer program knows.
            kind: PayloadKind::from_code(row.try_get(7)?).unwrap_or(PayloadKind::Undecodable),
            generation: Generation::from_code(row.try_get(8)?)
                .ok_or_else(|| unreadable(TABLE, "an unknown generation"))?,
            sent_ns: row.try_get::<Option<i64>, _>(9)?.map(time::from_db),
            accounts: accounts
                .iter()
                .map(|account| Address::try_from(account.as_slice()))
                .collect::<std::result::Result<_, _>>()
                .map_err(|_| unreadable(TABLE, "an address has not 20 bytes"))?,
        };
        Logged::from_row(row, Content::Erased(tombstone), row.try_get(6)?)
    }

    /// Bytes of the message that this row holds in memory.
    fn held(&self) -> i64 {
        match &self.content {
            Content::Message(message) => i64::try_from(message.len()).unwrap_or(i64::MAX),
            Content::Erased(_) => 0,
        }
    }
}

/// The bounds of one page of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBounds {
    /// At most this many envelopes.
    pub envelopes: i64,
    /// At most about this many message bytes; one envelope larger than this still makes a page of its own.
    pub bytes: i64,
}

impl Default for PageBounds {
    fn default() -> Self {
        PageBounds { envelopes: 4_000, bytes: 8 << 20 }
    }
}

/// The page after `after`, not beyond `upto`.
pub(crate) async fn read_page(
    connection: &mut PgConnection,
    after: Position,
    upto: Position,
    bounds: PageBounds,
) -> Result<Vec<Logged>> {
    let last = upto.0.min(after.0.saturating_add(bounds.envelopes));
    let range = format!("position > {} and position <= {last}", after.0);
    let (page, cut_short) = read_messages(connection, &range, bounds.bytes).await?;
    if i64::try_from(page.len()).unwrap_or(i64::MAX) == last - after.0 {
        return Ok(page);
    }
    // Positions are dense: where the log has no row, there is a tombstone.
    let end = page.last().filter(|_| cut_short).map_or(last, |logged| logged.position.0);
    let range = format!("position > {} and position <= {end}", after.0);
    Ok(merge(page, read_tombstones(connection, &range).await?))
}

fn merge(messages: Vec<Logged>, tombstones: Vec<Logged>) -> Vec<Logged> {
    let mut merged = Vec::with_capacity(messages.len() + tombstones.len());
    let (mut messages, mut tombstones) =
        (messages.into_iter().peekable(), tombstones.into_iter().peekable());
    loop {
        let order = match (messages.peek(), tombstones.peek()) {
            (Some(message), Some(tombstone)) => message.position.cmp(&tombstone.position),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return merged,
        };
        if order.is_eq() {
            // Erased between the two statements.
            messages.next();
        }
        merged.extend(if order.is_lt() { messages.next() } else { tombstones.next() });
    }
}

/// The messages of a range, up to `bytes`, and whether there are more. Positions stand in the text: with their values the planner sees which partitions
/// it needs, and leaves the others alone.
async fn read_messages(
    connection: &mut PgConnection,
    range: &str,
    bytes: i64,
) -> Result<(Vec<Logged>, bool)> {
    let text =
        format!("select {COLUMNS}, message from ground.envelopes where {range} order by position");
    // Rows come as they are read; those behind the byte bound are dropped on the wire and never held.
    let mut rows = sqlx::query(AssertSqlSafe(text)).persistent(false).fetch(connection);
    let (mut page, mut held) = (Vec::<Logged>::new(), 0_i64);
    while let Some(row) = rows.try_next().await? {
        let logged = Logged::message(&row)?;
        held = held.saturating_add(logged.held());
        if held > bytes && !page.is_empty() {
            return Ok((page, true));
        }
        page.push(logged);
    }
    Ok((page, false))
}

async fn read_tombstones(connection: &mut PgConnection, range: &str) -> Result<Vec<Logged>> {
    let text = format!(
        "select {COLUMNS}, size, kind, generation, sent_ns, accounts
           from ground.tombstones where {range} order by position"
    );
    let rows = sqlx::query(AssertSqlSafe(text)).persistent(false).fetch_all(connection).await?;
    rows.iter().map(Logged::tombstone).collect()
}

/// The envelopes at these positions that still have their messages, in the order of positions; those of the first `bytes`.
/// There is at least one, unless none is left.
pub(crate) async fn read_at(
    connection: &mut PgConnection,
    positions: &[i64],
    bytes: i64,
) -> Result<Vec<Logged>> {
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    Ok(read_messages(connection, &among(positions), bytes).await?.0)
}

/// A condition for these positions, with their values in the text.
pub(crate) fn among(positions: &[i64]) -> String {
    let list: Vec<String> = positions.iter().map(i64::to_string).collect();
    format!("position in ({})", list.join(", "))
}

impl Store {
    /// The position of the newest envelope.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn head(&self) -> Result<Position> {
        let head = sqlx::query_scalar!("select position from ground.head");
        Ok(Position(head.fetch_one(&mut *self.connection().await?).await?))
    }

    /// The page of the log after `after`; empty at the head.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn page(
        &self,
        after: Position,
        upto: Position,
        bounds: PageBounds,
    ) -> Result<Vec<Logged>> {
        let upto = upto.min(self.head().await?);
        read_page(&mut *self.connection().await?, after, upto, bounds).await
    }
}
