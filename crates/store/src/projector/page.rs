//! Pages of the log, read and decoded.

use std::sync::atomic::Ordering;

use sqlx::PgConnection;

use super::Projector;
use crate::{
    error::{Error, Result},
    log::{self, Logged, PageBounds, Position},
    projection::Entry,
};

/// A page of the log.
pub(super) struct Page {
    /// It begins behind this.
    pub(super) after: Position,
    pub(super) entries: Vec<Entry>,
    /// How many erasures there had been when it was read. After another one it may hold what must not be written.
    pub(super) erasures: i64,
}

impl Page {
    pub(super) fn last(&self) -> Option<Position> {
        self.entries.last().map(|entry| entry.logged.position)
    }
}

impl Projector {
    /// Reads and decodes a page, on as many cores as there are.
    pub(super) async fn read(&self, after: Position, upto: Position) -> Result<Page> {
        let mut connection = self.store.connection().await?;
        self.read_on(&mut connection, after, upto).await
    }

    /// The same, on a connection that the caller has. The log is read and decoded a part at a time, because only decoded
    /// envelopes are small: a page has many more of them than messages would fit into the same memory.
    pub(super) async fn read_on(
        &self,
        connection: &mut PgConnection,
        after: Position,
        upto: Position,
    ) -> Result<Page> {
        let erasures = sqlx::query_scalar!("select erasures from ground.head")
            .fetch_one(&mut *connection)
            .await?;
        let mut page = Page { after, entries: Vec::new(), erasures };
        let (mut at, mut held) = (after, 0);
        loop {
            let room = self.config.bounds.envelopes - (at.0 - after.0);
            if at >= upto || room <= 0 || held >= self.config.bounds.bytes {
                return Ok(page);
            }
            let part = self.read_part(connection, at, Position(upto.0.min(at.0 + room))).await?;
            let Some(last) = part.last() else { return Ok(page) };
            at = last.position;
            let decoded = self.decode(part, at).await?;
            held += decoded.iter().map(Entry::held).sum::<i64>();
            page.entries.extend(decoded);
        }
    }

    /// Reads as many envelopes as are likely to fit into the bytes of one read.
    async fn read_part(
        &self,
        connection: &mut PgConnection,
        after: Position,
        upto: Position,
    ) -> Result<Vec<Logged>> {
        let stride = self.stride.load(Ordering::Relaxed);
        let bounds = PageBounds { envelopes: stride, ..self.config.bounds };
        let part = log::read_page(connection, after, upto, bounds).await?;
        let got = i64::try_from(part.len()).unwrap_or(i64::MAX);
        let cut_short = got < stride.min(upto.0.saturating_sub(after.0));
        let next = if cut_short { got } else { stride.saturating_mul(2) };
        self.stride.store(next.clamp(1, self.config.bounds.envelopes.max(1)), Ordering::Relaxed);
        Ok(part)
    }

    /// Decodes and verifies envelopes, in their order.
    async fn decode(&self, mut part: Vec<Logged>, last: Position) -> Result<Vec<Entry>> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = part.len().div_ceil(cores).max(128);
        let mut tasks = Vec::with_capacity(cores);
        while !part.is_empty() {
            let rest = part.split_off(share.min(part.len()));
            let share = std::mem::replace(&mut part, rest);
            let verifier = self.verifier.clone();
            tasks.push(tokio::task::spawn_blocking(move || {
                share.into_iter().map(|logged| Entry::read(logged, &verifier)).collect::<Vec<_>>()
            }));
        }
        let mut entries = Vec::new();
        for task in tasks {
            entries.extend(task.await.map_err(|error| Error::Contradiction {
                table: "ground.envelopes",
                what: format!("decoding the envelopes up to position {last} failed: {error}"),
            })?);
        }
        Ok(entries)
    }
}
