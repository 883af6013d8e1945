//! Page cursors: where a row stands in its list, as an opaque text. A cursor names the database, the list, its order and its
//! filter, so that using it elsewhere is an error and not a wrong page.

use std::sync::Arc;

use store::{
    Store,
    read::{Key, TieBreaker, TieBreakerKind},
};
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    error::{Code, Trouble},
    opaque,
};

const VERSION: u8 = 2;

/// Names a database. Positions and keys of one mean nothing in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag(pub(crate) i32);

/// The tag of the database that is served. It is asked for once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tags(Arc<OnceCell<Tag>>);

impl Tags {
    /// The tag, which the first caller asks the database for. No connection may be held meanwhile.
    pub(crate) async fn load(&self, store: &Store) -> store::Result<Tag> {
        self.0.get_or_try_init(async || store.tag().await.map(Tag)).await.copied()
    }

    /// The tag, when it was asked for already.
    pub(crate) fn known(&self) -> Option<Tag> {
        self.0.get().copied()
    }
}

/// Which list of which database a cursor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    tag: Tag,
    list: u32,
}

impl Place {
    /// The log itself. A position means the same in every list that is in the order of the log, whatever its filter:
    /// `extensions.head` of answers is such a cursor.
    pub(crate) fn log(tag: Tag) -> Place {
        Place { tag, list: 0 }
    }

    /// A list in an order with a filter.
    pub(crate) fn of(tag: Tag, list: &str, order: &str, filter: &str) -> Place {
        let hash = wire::keccak256(format!("{list}\0{order}\0{filter}").as_bytes());
        // Never that of the log.
        Place { tag, list: u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]).max(1) }
    }
}

/// The cursor of a row.
#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    pub(crate) place: Place,
    pub(crate) key: Key,
}

impl Cursor {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.place.tag.0.to_be_bytes());
        bytes.extend_from_slice(&self.place.list.to_be_bytes());
        match self.key.sort {
            None => bytes.push(0),
            Some(sort) => {
                bytes.push(1);
                bytes.extend_from_slice(&sort.to_be_bytes());
            }
        }
        match &self.key.tie_breaker {
            TieBreaker::Uuid(key) => bytes.extend_from_slice(key.as_bytes()),
            TieBreaker::Bytes(key) => bytes.extend_from_slice(key),
            TieBreaker::Position(key) => bytes.extend_from_slice(&key.to_be_bytes()),
        }
        bytes
    }

    /// As readers see it.
    pub(crate) fn encode(&self) -> String {
        opaque::text(&self.bytes())
    }

    /// Writes it into an answer.
    pub(crate) fn spell(&self, to: &mut Vec<u8>) {
        opaque::spell(&self.bytes(), to);
    }
}

/// The row of a cursor.
pub(crate) fn decode(
    text: &str,
    place: Place,
    tie_breaker: TieBreakerKind,
) -> Result<Key, Trouble> {
    let broken = || Trouble::new(Code::BadCursor, "this is not a cursor of this API");
    let bytes = opaque::read(text).ok_or_else(broken)?;
    let (&version, rest) = bytes.split_first().ok_or_else(broken)?;
    if version != VERSION {
        return Err(Trouble::new(
            Code::BadCursor,
            "this cursor is of another version of this API: begin again without it",
        ));
    }
    let (tag, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
    if Tag(i32::from_be_bytes(*tag)) != place.tag {
        return Err(Trouble::new(
            Code::BadCursor,
            "this cursor was made by another database than the one that answers: begin again without it",
        ));
    }
    let (list, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
    if u32::from_be_bytes(*list) != place.list {
        return Err(Trouble::new(
            Code::BadCursor,
            "this cursor was made by another list, or with another order or filter: begin again without it",
        ));
    }
    let (sort, rest) = match rest.split_first().ok_or_else(broken)? {
        (0, rest) => (None, rest),
        (1, rest) => {
            let (sort, rest) = rest.split_first_chunk::<8>().ok_or_else(broken)?;
            (Some(i64::from_be_bytes(*sort)), rest)
        }
        _ => return Err(broken()),
    };
    let tie_breaker = match tie_breaker {
        TieBreakerKind::Uuid => TieBreaker::Uuid(Uuid::from_slice(rest).map_err(|_| broken())?),
        TieBreakerKind::Bytes if rest.len() <= 64 => TieBreaker::Bytes(rest.to_vec()),
        TieBreakerKind::Bytes => return Err(broken()),
        TieBreakerKind::Position => {
            TieBreaker::Position(i64::from_be_bytes(rest.try_into().map_err(|_| broken())?))
        }
    };
    Ok(Key { sort, tie_breaker })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: Tag = Tag(7);

    #[test]
    fn cursors_lead_back_to_their_rows() {
        let place = Place::of(TAG, "topics", "LAST_SEEN", "");
        for key in [
            Key { sort: Some(i64::MIN), tie_breaker: TieBreaker::Uuid(Uuid::from_u128(7)) },
            Key { sort: None, tie_breaker: TieBreaker::Position(i64::MAX) },
            Key { sort: Some(-1), tie_breaker: TieBreaker::Bytes(vec![9; 20]) },
        ] {
            let text = Cursor { place, key: key.clone() }.encode();
            assert_eq!(decode(&text, place, key.tie_breaker.kind()).unwrap(), key);
        }
    }

    #[test]
    fn what_is_no_cursor_of_the_list_is_refused() {
        let place = Place::of(TAG, "topics", "LAST_SEEN", "");
        let key = Key { sort: Some(1), tie_breaker: TieBreaker::Position(1) };
        let text = Cursor { place, key }.encode();
        let kind = TieBreakerKind::Position;
        let other = Place::of(TAG, "topics", "FIRST_SEEN", "");
        let error = decode(&text, other, kind).unwrap_err();
        assert!(error.code == Code::BadCursor && error.message.contains("another list"));
        for broken in ["", "A", "AQ", "Ag", "!!", &text[..text.len() - 2], &format!("{text}AAAA")] {
            let error = decode(broken, place, kind).unwrap_err();
            assert_eq!(error.code, Code::BadCursor, "{broken}");
        }
        assert!(decode(&text, place, TieBreakerKind::Uuid).is_err());
    }

    #[test]
    fn a_cursor_of_another_database_is_refused_and_says_so() {
        let key = Key { sort: None, tie_breaker: TieBreaker::Position(1) };
        let text = Cursor { place: Place::log(TAG), key }.encode();
        let foreign = decode(&text, Place::log(Tag(8)), TieBreakerKind::Position).unwrap_err();
        assert_eq!(foreign.code, Code::BadCursor);
        assert!(foreign.message.contains("another database"), "{}", foreign.message);
    }
}
