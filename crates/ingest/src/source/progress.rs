//! How far a source has been read, by shard.

use std::collections::BTreeMap;

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

    /// Reads what is stored, by shard.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn load(&self) -> Result<BTreeMap<String, i64>> {
        let source = self.store.source(&self.source).await?;
        let progress = source.map(|source| source.progress).unwrap_or_default();
        Ok(progress.into_iter().map(|one| (one.shard, one.upto)).collect())
    }

    /// Lowers what is stored.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn rewind(&self, to: &[Progress]) -> Result<()> {
        self.store.rewind(&self.source, to).await.map(|_| ())
    }
}
