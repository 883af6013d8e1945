//! Derived tables whose rows depend on earlier rows of the same table.

use std::{collections::BTreeMap, future::Future};

use sqlx::PgConnection;

use super::Entry;
use crate::{error::Result, totals::Totals};

/// A derived table in which each envelope changes the state of some keys. States of a page's keys are loaded, events are
/// applied to them in the order of the log, and what changed is saved: where pages end makes no difference.
pub(crate) trait Fold: Send + Sync + 'static {
    /// See [`Projection::NAME`](super::Projection::NAME).
    const NAME: &'static str;
    /// See [`Projection::VERSION`](super::Projection::VERSION).
    const VERSION: i32;
    /// The tables that it writes, without their schema.
    const TABLES: &'static [&'static str];
    /// What a state belongs to.
    type Key: Ord + Clone + Send + Sync;
    /// The state of a key: its row.
    type State: Clone + PartialEq + Send + Sync;
    /// What an envelope does to a key.
    type Event: Send + Sync;

    /// Pure. The events of one envelope, in order.
    fn derive(entry: &Entry, events: &mut Vec<(Self::Key, Self::Event)>);

    /// Pure. The state of a key after an event; without a state before, the key is new.
    fn apply(state: Option<Self::State>, event: Self::Event) -> Self::State;

    /// The states of those of these keys that have one.
    fn load(
        connection: &mut PgConnection,
        keys: &[Self::Key],
    ) -> impl Future<Output = Result<BTreeMap<Self::Key, Self::State>>> + Send;

    /// Writes states that changed.
    fn save(
        connection: &mut PgConnection,
        changes: Vec<Change<Self>>,
        totals: &mut Totals,
    ) -> impl Future<Output = Result<()>> + Send;

    /// See [`Projection::erase`](super::Projection::erase).
    fn erase(
        _connection: &mut PgConnection,
        _erased: &[Entry],
        _totals: &mut Totals,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}

/// A state that changed.
#[derive(Debug)]
pub(crate) struct Change<F: Fold + ?Sized> {
    /// Of which key.
    pub(crate) key: F::Key,
    /// Before the page; nothing when the key is new.
    pub(crate) before: Option<F::State>,
    /// After the page.
    pub(crate) after: F::State,
}

/// Folds the events of a page into the states of their keys.
pub(super) async fn write<F: Fold>(
    connection: &mut PgConnection,
    events: Vec<(F::Key, F::Event)>,
    totals: &mut Totals,
) -> Result<()> {
    let keys: Vec<F::Key> = events
        .iter()
        .map(|(key, _)| (key.clone(), ()))
        .collect::<BTreeMap<_, _>>()
        .into_keys()
        .collect();
    let before = F::load(connection, &keys).await?;
    let mut after = before.clone();
    for (key, event) in events {
        let state = after.remove(&key);
        after.insert(key, F::apply(state, event));
    }
    let changes: Vec<Change<F>> = after
        .into_iter()
        .map(|(key, after)| Change { before: before.get(&key).cloned(), key, after })
        .filter(|change| change.before.as_ref() != Some(&change.after))
        .collect();
    if changes.is_empty() {
        return Ok(());
    }
    F::save(connection, changes, totals).await
}
