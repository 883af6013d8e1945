//! The status of a source for operators and readers: whether it is connected, its error, and its gaps.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};
use store::{Gap, GapState, Store};
use tokio::time::Instant;

/// A status is written again after this long even if nothing changed: one that is three times as old counts as that of a
/// process that was killed.
const REFRESH: Duration = Duration::from_secs(10);
/// How long one report may take: progress waits for it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Collects the status of one source; [`Reporter::flush`] writes what changed. Clones share it.
#[derive(Clone, Debug)]
pub struct Reporter {
    store: Store,
    source: String,
    kind: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    status: Status,
    reported: Option<(Status, Instant)>,
    gaps: BTreeMap<String, Gap>,
    /// Shards whose gaps differ from what the database has.
    changed: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Status {
    connected: bool,
    last_envelope_at: Option<DateTime<Utc>>,
    error: Option<String>,
}

impl Reporter {
    pub(crate) fn new(store: Store, source: &str, kind: &'static str) -> Reporter {
        Reporter { store, source: source.to_owned(), kind, state: Arc::default() }
    }

    /// Reads the gaps that earlier runs reported.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn load(&self) -> store::Result<()> {
        let source = self.store.source(&self.source).await?;
        let gaps = source.map(|source| source.gaps).unwrap_or_default();
        let mut state = self.state();
        for gap in gaps {
            state.gaps.entry(gap.shard.clone()).or_insert(gap);
        }
        Ok(())
    }

    /// A node is connected, and nothing is wrong.
    pub fn connected(&self) {
        let mut state = self.state();
        state.status.connected = true;
        state.status.error = None;
    }

    /// No node is connected.
    pub fn disconnected(&self, error: Option<String>) {
        let mut state = self.state();
        state.status.connected = false;
        state.status.error = error.or(state.status.error.take());
    }

    /// Something is wrong; the connection stays.
    pub fn error(&self, error: String) {
        self.state().status.error = Some(error);
    }

    /// When the newest envelope came.
    pub fn last_envelope_at(&self, at: Option<DateTime<Utc>>) {
        let mut state = self.state();
        state.status.last_envelope_at = at.or(state.status.last_envelope_at);
    }

    /// Reports a gap, or what is being done about it.
    pub fn gap(&self, gap: Gap) {
        let mut state = self.state();
        if state.gaps.get(&gap.shard) != Some(&gap) {
            state.changed.push(gap.shard.clone());
            state.gaps.insert(gap.shard.clone(), gap);
        }
    }

    /// Closes the gaps of these shards, where there are any.
    pub fn close<'a>(&self, shards: impl IntoIterator<Item = &'a str>) {
        let mut state = self.state();
        for shard in shards {
            if state.gaps.is_empty() {
                return;
            }
            if state.gaps.remove(shard).is_some() {
                state.changed.push(shard.to_owned());
            }
        }
    }

    /// Writes what changed. While the database is away nothing is lost: it is written with the next call.
    pub async fn flush(&self) {
        match tokio::time::timeout(PATIENCE, self.write()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(source = self.source, %error, "cannot report the status of a source");
            }
            Err(_) => tracing::debug!(
                source = self.source,
                "the database took too long to take the status of a source"
            ),
        }
    }

    async fn write(&self) -> store::Result<()> {
        let (status, open, closed) = {
            let state = self.state();
            let due = state
                .reported
                .as_ref()
                .is_none_or(|(reported, at)| *reported != state.status || at.elapsed() >= REFRESH);
            let changed = state.changed.iter();
            let (open, closed): (Vec<_>, Vec<_>) = changed
                .map(|shard| state.gaps.get(shard).cloned().ok_or(shard.clone()))
                .partition(Result::is_ok);
            (due.then(|| state.status.clone()), open, closed)
        };
        let open: Vec<Gap> = open.into_iter().filter_map(Result::ok).collect();
        let closed: Vec<String> = closed.into_iter().filter_map(Result::err).collect();
        if let Some(status) = &status {
            let Status { connected, last_envelope_at, error } = status;
            self.store
                .report_source(
                    &self.source,
                    self.kind,
                    *connected,
                    *last_envelope_at,
                    error.as_deref(),
                )
                .await?;
        }
        if !open.is_empty() {
            self.store.report_gaps(&self.source, &open).await?;
        }
        if !closed.is_empty() {
            self.store.close_gaps(&self.source, &closed).await?;
        }
        let mut state = self.state();
        if let Some(status) = status {
            state.reported = Some((status, Instant::now()));
        }
        // What changed meanwhile is written with the next call.
        let State { gaps, changed, .. } = &mut *state;
        changed.retain(|shard| match gaps.get(shard) {
            Some(gap) => !open.contains(gap),
            None => !closed.contains(shard),
        });
        for word in GapState::ALL {
            let count = gaps.values().filter(|gap| gap.state == *word).count();
            metrics::gauge!("xmtp_indexer_source_gaps", "source" => self.source.clone(), "state" => word.as_str())
                .set(count as f64);
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
