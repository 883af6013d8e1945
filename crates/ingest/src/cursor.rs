//! What is kept between runs about a source of kind `message-api`: how far its stream was whole, and which topics were read
//! back. Opaque to everybody else.

use bytes::{BufMut, Bytes, BytesMut};

/// A node of this kind has no cursor of its own, so ours is a time and a position. Both only grow, and so do the bytes: the
/// log keeps the greatest that it was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// Everything that the node relayed before this time (ours, nanoseconds since 1970) is durable; 0 when nothing is sure.
    pub whole_until_ns: u64,
    /// Topics that were first seen up to this position of the log have been read back to their beginning.
    pub read_back_to: u64,
    /// When the stream of this source was first read (ours, nanoseconds since 1970); 0 when it never was. It does not change.
    pub watched_since_ns: u64,
}

impl Cursor {
    /// As kept.
    #[must_use]
    pub fn to_bytes(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(24);
        bytes.put_u64(self.whole_until_ns);
        bytes.put_u64(self.read_back_to);
        bytes.put_u64(self.watched_since_ns);
        bytes.freeze()
    }

    /// Back from what was kept. What cannot be read counts as nothing known: then everything is read again, and nothing is lost.
    #[must_use]
    pub fn from_bytes(bytes: Option<&Bytes>) -> Self {
        let word = |at: usize| {
            bytes
                .and_then(|bytes| bytes.get(at..at + 8))
                .and_then(|word| word.try_into().ok())
                .map_or(0, u64::from_be_bytes)
        };
        Self { whole_until_ns: word(0), read_back_to: word(8), watched_since_ns: word(16) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_comes_back_and_sorts_as_its_bytes(a in any::<[u64; 3]>(), b in any::<[u64; 3]>()) {
            let cursor = |[whole_until_ns, read_back_to, watched_since_ns]: [u64; 3]| Cursor { whole_until_ns, read_back_to, watched_since_ns };
            let (a, b) = (cursor(a), cursor(b));
            prop_assert_eq!(Cursor::from_bytes(Some(&a.to_bytes())), a);
            prop_assert_eq!(a.cmp(&b), a.to_bytes().cmp(&b.to_bytes()));
        }
    }

    #[test]
    fn rubbish_is_the_beginning() {
        assert_eq!(Cursor::from_bytes(Some(&Bytes::from_static(&[0xff; 5]))), Cursor::default());
        assert_eq!(Cursor::from_bytes(None), Cursor::default());
    }
}
