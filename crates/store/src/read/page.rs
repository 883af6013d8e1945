//! Paging by keyset: a page begins at a row's own sort value and primary key, never at a count of rows before it.

use uuid::Uuid;

/// A row's place in an ordered list: its sort value and its primary key. Places compare as rows do: one without a value
/// lies below all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The value that the list is sorted by, as stored. `None` where a row has none, and in lists sorted by primary
    /// key alone.
    pub sort: Option<i64>,
    /// The primary key, which every order ends in: it decides between rows of equal sort values.
    pub tie_breaker: TieBreaker,
}

/// A primary key, as what decides between rows of equal sort values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TieBreaker {
    /// The key of tables whose rows are named by half a hash.
    Uuid(Uuid),
    /// The key of accounts.
    Bytes(Vec<u8>),
    /// The key of tables whose rows are named by a position in the log.
    Position(i64),
}

impl TieBreaker {
    /// Its type, without the value.
    #[must_use]
    pub fn kind(&self) -> TieBreakerKind {
        match self {
            TieBreaker::Uuid(_) => TieBreakerKind::Uuid,
            TieBreaker::Bytes(_) => TieBreakerKind::Bytes,
            TieBreaker::Position(_) => TieBreakerKind::Position,
        }
    }
}

/// The type of a primary key. Keys that come from outside must be checked against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TieBreakerKind {
    /// [`TieBreaker::Uuid`]
    Uuid,
    /// [`TieBreaker::Bytes`]
    Bytes,
    /// [`TieBreaker::Position`]
    Position,
}

/// A row that knows its place in an order `O`.
pub trait Keyed<O> {
    /// The type of the primary key.
    const TIE_BREAKER: TieBreakerKind;
    /// The place of this row.
    fn key(&self, order: O) -> Key;
}

/// The one order of lists that are sorted by their own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOrder;

/// A part of a list to read.
#[derive(Clone, Debug)]
pub struct PageRequest<O> {
    /// What the list is sorted by.
    pub order: O,
    /// Largest first.
    pub descending: bool,
    /// Only rows after this place.
    pub after: Option<Key>,
    /// Only rows before this place.
    pub before: Option<Key>,
    /// At most this many rows.
    pub limit: u32,
    /// The last `limit` rows of the range, not the first; in the order of the list all the same.
    pub backward: bool,
}

impl<O> PageRequest<O> {
    /// The first rows of a list.
    #[must_use]
    pub fn first(order: O, descending: bool, limit: u32) -> Self {
        PageRequest { order, descending, after: None, before: None, limit, backward: false }
    }

    /// The direction in which the index is scanned. Paging backward turns it round, so that both directions cost the same.
    pub(super) fn scans_descending(&self) -> bool {
        self.descending != self.backward
    }

    /// The place that rows must lie above, in the order of their values.
    pub(super) fn above(&self) -> Option<&Key> {
        if self.descending { self.before.as_ref() } else { self.after.as_ref() }
    }

    /// The place that rows must lie below, in the order of their values.
    pub(super) fn below(&self) -> Option<&Key> {
        if self.descending { self.after.as_ref() } else { self.before.as_ref() }
    }

    /// The number of rows to read: one more than wanted shows whether there are more.
    pub(super) fn probe(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    pub(super) fn page<T>(&self, mut rows: Vec<T>) -> Page<T> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let has_more = rows.len() > limit;
        rows.truncate(limit);
        if self.backward {
            rows.reverse();
        }
        Page { rows, has_more }
    }
}

/// A part of a list, in the order of the list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// The rows.
    pub rows: Vec<T>,
    /// Are there more in the direction of reading, within the range?
    pub has_more: bool,
}

impl<T> Page<T> {
    /// No rows.
    #[must_use]
    pub fn empty() -> Self {
        Page { rows: Vec::new(), has_more: false }
    }
}
