//! How far a source has been read, by shard.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use store::{Progress, Result, Store};

/// The progress of one source in the database. It grows with the pages that it accounts for: see
/// [`Outbox::save`](super::Outbox::save).
#[derive(Clone, Debug)]
pub struct ProgressStore {
    store: Store,
    source: String,
}

impl ProgressStore {
    pub(crate) fn new(store: Store, source: &str) -> ProgressStore {
        ProgressStore { store, source: source.to_owned() }
    }

    /// Reads what is stored, by shard, and when that was written by PostgreSQL's clock.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn load(&self) -> Result<BTreeMap<String, (i64, DateTime<Utc>)>> {
        let progress = self.store.progress(&self.source).await?;
        Ok(progress.into_iter().map(|(one, at)| (one.shard, (one.upto, at))).collect())
    }

    /// Lowers what is stored.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn rewind(&self, to: &[Progress]) -> Result<()> {
        self.store.rewind(&self.source, to).await.map(|_| ())
    }
}
