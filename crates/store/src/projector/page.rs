//! Pages of the log, read and decoded.

use std::sync::atomic::Ordering;

use sqlx::PgConnection;

use super::Projector;
use crate::{
    error::{Error, Result},
    log::{self, PageBounds, Position},
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

    /// The same, on a connection that the caller has.
    pub(super) async fn read_on(
        &self,
        connection: &mut PgConnection,
        after: Position,
        upto: Position,
    ) -> Result<Page> {
        let stride = self.stride.load(Ordering::Relaxed);
        let bounds = PageBounds { envelopes: stride, ..self.config.bounds };
        let erasures = sqlx::query_scalar!("select erasures from ground.head")
            .fetch_one(&mut *connection)
            .await?;
        let mut page = log::read_page(connection, after, upto, bounds).await?;
        let got = i64::try_from(page.len()).unwrap_or(i64::MAX);
        let cut_short = got < stride.min(upto.0.saturating_sub(after.0));
        let next = if cut_short { got } else { stride.saturating_mul(2) };
        self.stride.store(next.clamp(1, self.config.bounds.envelopes.max(1)), Ordering::Relaxed);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = page.len().div_ceil(cores).max(128);
        let mut tasks = Vec::with_capacity(cores);
        while !page.is_empty() {
            let rest = page.split_off(share.min(page.len()));
            let part = std::mem::replace(&mut page, rest);
            let verifier = self.verifier.clone();
            tasks.push(tokio::task::spawn_blocking(move || {
                part.into_iter().map(|logged| Entry::read(logged, &verifier)).collect::<Vec<_>>()
            }));
        }
        let mut entries = Vec::new();
        for task in tasks {
            entries.extend(task.await.map_err(|error| Error::Contradiction {
                table: "ground.envelopes",
                what: format!("decoding the page after position {after} failed: {error}"),
            })?);
        }
        Ok(Page { after, entries, erasures })
    }
}
