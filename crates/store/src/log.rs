//! The log as readers see it: positions, keys, and pages in position order.

use std::pin::pin;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use deadpool_postgres::GenericClient;
use futures::TryStreamExt as _;
use sha2::{Digest as _, Sha256};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;
use wire::Digest;

use crate::{database::Store, error::Result, time};

/// A place in the log. Positions are dense, begin at 1, and become visible in their own order: who has read up to a
/// position will never see a row appear at or behind it (invariant 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub i64);

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The key of a topic in derived tables: the first half of SHA-256 of its name.
#[must_use]
pub fn topic_key(name: &str) -> Uuid {
    half(&Sha256::digest(name.as_bytes()))
}

/// The key of a payload in derived tables: the first half of SHA-256 of the message bytes. All copies of one
/// invitation or message share it.
#[must_use]
pub fn payload_key(message: &[u8]) -> Uuid {
    half(&Sha256::digest(message))
}

fn half(digest: &[u8]) -> Uuid {
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(to, from)| *to = *from);
    Uuid::from_bytes(half)
}

/// One envelope as the log holds it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Where it stands.
    pub position: Position,
    /// The topic's name.
    pub topic: String,
    /// The sender's clock, nanoseconds since 1970.
    pub timestamp_ns: u64,
    /// SHA-256(topic ‖ message).
    pub digest: Digest,
    /// The bytes as published.
    pub message: Bytes,
    /// When this index stored it.
    pub indexed_at: DateTime<Utc>,
}

impl Logged {
    fn from_row(row: &Row) -> Logged {
        let digest: &[u8] = row.get(3);
        let message: &[u8] = row.get(4);
        Logged {
            position: Position(row.get(0)),
            topic: row.get(1),
            timestamp_ns: time::from_db(row.get(2)),
            digest: Digest::from(<[u8; 32]>::try_from(digest).unwrap_or_default()),
            message: Bytes::copy_from_slice(message),
            indexed_at: row.get(5),
        }
    }
}

/// The bounds of one page of the log.
#[derive(Clone, Copy, Debug)]
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
    client: &impl GenericClient,
    after: Position,
    upto: Position,
    bounds: PageBounds,
) -> Result<Vec<Logged>> {
    let statement = client
        .prepare_cached(
            "select position, topic, timestamp_ns, digest, message, indexed_at
               from ground.envelopes
              where position > $1 and position <= $2
              order by position",
        )
        .await?;
    let last = upto.0.min(after.0.saturating_add(bounds.envelopes));
    let params: [&(dyn ToSql + Sync); 2] = [&after.0, &last];
    // Rows come as they are read; those behind the byte bound are dropped on the wire and never held.
    let mut rows = pin!(client.query_raw(&statement, params).await?);
    let (mut page, mut bytes) = (Vec::new(), 0_i64);
    while let Some(row) = rows.try_next().await? {
        let logged = Logged::from_row(&row);
        bytes = bytes.saturating_add(i64::try_from(logged.message.len()).unwrap_or(i64::MAX));
        if bytes > bounds.bytes && !page.is_empty() {
            break;
        }
        page.push(logged);
    }
    Ok(page)
}

impl Store {
    /// The position of the newest envelope.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn head(&self) -> Result<Position> {
        let client = self.client().await?;
        let statement = client.prepare_cached("select position from ground.head").await?;
        Ok(Position(client.query_one(&statement, &[]).await?.get(0)))
    }

    /// The page of the log after `after`; empty at the head.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn page(
        &self,
        after: Position,
        upto: Position,
        bounds: PageBounds,
    ) -> Result<Vec<Logged>> {
        let client = self.client().await?;
        read_page(&client, after, upto, bounds).await
    }
}
