//! The status of a source for operators and readers: whether it is connected, its error, and its gaps.

use std::collections::{BTreeMap, BTreeSet};
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
    changed: BTreeSet<String>,
    /// Another process reports now.
    retired: bool,
}

/// The most gaps of one source. With more, something else is wrong than single topics.
const MAX_GAPS: usize = 10_000;

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
        let gaps = self.store.gaps(&self.source).await?;
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

    /// Nothing is wrong any more; the connection stays as it is.
    pub fn recovered(&self) {
        let mut state = self.state();
        if state.status.connected {
            state.status.error = None;
        }
    }

    /// Reports a gap, or what is being done about it. One that is known keeps its earlier beginning and its later end.
    pub fn gap(&self, mut gap: Gap) {
        let mut state = self.state();
        if let Some(known) = state.gaps.get(&gap.shard) {
            if let (Some((from, to)), Some((known_from, known_to))) = (gap.times, known.times) {
                let to = to.zip(known_to).map(|(to, known_to)| to.max(known_to));
                gap.times = Some((from.min(known_from), to));
            }
            if *known == gap {
                return;
            }
        }
        state.changed.insert(gap.shard.clone());
        state.gaps.insert(gap.shard.clone(), gap);
    }

    /// False for another gap when there are so many that something else is wrong than single topics.
    #[must_use]
    pub fn has_room_for(&self, shard: &str) -> bool {
        let state = self.state();
        state.gaps.len() < MAX_GAPS || state.gaps.contains_key(shard)
    }

    /// The gaps that are open.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        self.state().gaps.values().cloned().collect()
    }

    /// Closes the gaps of these shards that begin at a time or later: all since then has been read.
    pub fn close(&self, shards: impl IntoIterator<Item = String>, since_ns: u64) {
        let mut state = self.state();
        for shard in shards {
            let begins = state.gaps.get(&shard).map(|gap| gap.times.map_or(0, |(from, _)| from));
            if begins.is_some_and(|begins| begins >= since_ns) {
                state.gaps.remove(&shard);
                state.changed.insert(shard);
            }
        }
    }

    /// Ends reporting: another process reads the source, and what this one knows is old.
    pub fn retire(&self) {
        self.state().retired = true;
    }

    /// Writes what changed. While the database is away nothing is lost: it is written with the next call.
    pub async fn flush(&self) {
        match tokio::time::timeout(PATIENCE, self.write()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.is_transient() => {
                tracing::debug!(source = self.source, %error, "cannot report the status of a source");
            }
            Ok(Err(error)) => {
                tracing::warn!(source = self.source, %error, "cannot report the status of a source");
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
            if state.retired {
                return Ok(());
            }
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
