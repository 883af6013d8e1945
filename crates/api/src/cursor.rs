//! Page cursors: where a row stands in its list, as an opaque text. A cursor names the list, its order and its filter,
//! so that using it elsewhere is an error and not a wrong page.

use store::read::{Key, Tie, TieKind};
use uuid::Uuid;

use crate::{
    error::{Code, Trouble},
    opaque,
};

const VERSION: u8 = 1;

/// Which list a cursor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

impl Place {
    /// The log itself. A position means the same in every list that is in the order of the log, whatever its filter:
    /// the head that answers tell is such a cursor.
    pub(crate) const LOG: Place = Place(0);

    /// A list in an order with a filter.
    pub(crate) fn of(list: &str, order: &str, filter: &str) -> Place {
        let hash = wire::keccak256(format!("{list}\0{order}\0{filter}").as_bytes());
        // Never that of the log.
        Place(u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]).max(1))
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
        bytes.extend_from_slice(&self.place.0.to_be_bytes());
        match self.key.sort {
            None => bytes.push(0),
            Some(sort) => {
                bytes.push(1);
                bytes.extend_from_slice(&sort.to_be_bytes());
            }
        }
        match &self.key.tie {
            Tie::Uuid(key) => bytes.extend_from_slice(key.as_bytes()),
            Tie::Bytes(key) => bytes.extend_from_slice(key),
            Tie::Position(key) => bytes.extend_from_slice(&key.to_be_bytes()),
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
pub(crate) fn decode(text: &str, place: Place, tie: TieKind) -> Result<Key, Trouble> {
    let broken = || Trouble::new(Code::BadCursor, "this is not a cursor of this API");
    let bytes = opaque::read(text).ok_or_else(broken)?;
    let (&version, rest) = bytes.split_first().ok_or_else(broken)?;
    if version != VERSION {
        return Err(Trouble::new(
            Code::BadCursor,
            "this cursor is of another version of this API: begin again without it",
        ));
    }
    let (made_for, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
    if Place(u32::from_be_bytes(*made_for)) != place {
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
    let tie = match tie {
        TieKind::Uuid => Tie::Uuid(Uuid::from_slice(rest).map_err(|_| broken())?),
        TieKind::Bytes if rest.len() <= 64 => Tie::Bytes(rest.to_vec()),
        TieKind::Bytes => return Err(broken()),
        TieKind::Position => {
            Tie::Position(i64::from_be_bytes(rest.try_into().map_err(|_| broken())?))
        }
    };
    Ok(Key { sort, tie })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_lead_back_to_their_rows() {
        let place = Place::of("topics", "LAST_SEEN", "");
        for key in [
            Key { sort: Some(i64::MIN), tie: Tie::Uuid(Uuid::from_u128(7)) },
            Key { sort: None, tie: Tie::Position(i64::MAX) },
            Key { sort: Some(-1), tie: Tie::Bytes(vec![9; 20]) },
        ] {
            let text = Cursor { place, key: key.clone() }.encode();
            assert_eq!(decode(&text, place, key.tie.kind()).unwrap(), key);
        }
    }

    #[test]
    fn what_is_no_cursor_of_the_list_is_refused() {
        let place = Place::of("topics", "LAST_SEEN", "");
        let key = Key { sort: Some(1), tie: Tie::Position(1) };
        let text = Cursor { place, key }.encode();
        let other = Place::of("topics", "FIRST_SEEN", "");
        assert_eq!(decode(&text, other, TieKind::Position).unwrap_err().code, Code::BadCursor);
        for broken in ["", "A", "AQ", "!!", &text[..text.len() - 2], &format!("{text}AAAA")] {
            let error = decode(broken, place, TieKind::Position).unwrap_err();
            assert_eq!(error.code, Code::BadCursor, "{broken}");
        }
        assert!(decode(&text, place, TieKind::Uuid).is_err());
    }
}
