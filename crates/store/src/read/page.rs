//! Paging by keyset: where a page begins is a row's own sort value and primary key, never a count of rows before it.

use uuid::Uuid;

/// A row's place in an ordered list: its sort value and its primary key. Places compare as rows do: one without a value
/// lies below all others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The value that the list is sorted by, as stored. `None` where a row has none, and in lists sorted by primary
    /// key alone.
    pub sort: Option<i64>,
    /// The primary key, which every order ends in.
    pub tie: Tie,
}

/// A primary key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tie {
    /// Of tables whose key is half a hash.
    Uuid(Uuid),
    /// Of accounts.
    Bytes(Vec<u8>),
    /// Of tables whose key is a position in the log.
    Position(i64),
}

impl Tie {
    /// Its type, without the value.
    #[must_use]
    pub fn kind(&self) -> TieKind {
        match self {
            Tie::Uuid(_) => TieKind::Uuid,
            Tie::Bytes(_) => TieKind::Bytes,
            Tie::Position(_) => TieKind::Position,
        }
    }
}

/// The type of a primary key: who reads keys from outside must check it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TieKind {
    /// [`Tie::Uuid`]
    Uuid,
    /// [`Tie::Bytes`]
    Bytes,
    /// [`Tie::Position`]
    Position,
}

/// A row that knows its place in an order `O`.
pub trait Keyed<O> {
    /// The type of the primary key.
    const TIE: TieKind;
    /// The place of this row.
    fn key(&self, order: O) -> Key;
}

/// The one order of lists that are sorted by their own time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOrder;

/// Which part of a list.
#[derive(Clone, Debug)]
pub struct PageRequest<O> {
    /// What the list is sorted by.
    pub order: O,
    /// Largest first.
    pub descending: bool,
    /// Only rows beyond this place.
    pub after: Option<Key>,
    /// Only rows before this place.
    pub before: Option<Key>,
    /// At most this many rows.
    pub limit: u32,
    /// The last `limit` rows of the range, not the first. They come in the order of the list all the same.
    pub backward: bool,
}

impl<O> PageRequest<O> {
    /// The first rows of a list.
    #[must_use]
    pub fn first(order: O, descending: bool, limit: u32) -> Self {
        PageRequest { order, descending, after: None, before: None, limit, backward: false }
    }

    /// Which way the index is read. Reading backward turns it round, so that both directions cost the same.
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

    /// One row more than asked for tells whether there are more.
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
