//! The body of one message in the queue: a page of envelopes of one source.
//!
//! ```text
//! message Page {
//!   uint32 version = 1;              // 1
//!   string source = 2;
//!   optional bytes cursor = 3;       // see below
//!   repeated xmtp.message_api.v1.Envelope envelopes = 4;
//! }
//! ```
//!
//! A cursor says: everything of this source before it is durable. It is published only after the broker has confirmed every
//! page before it, so whichever worker commits it, and in whatever order, what it vouches for is in the log or in the queue.

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use store::Page;
use wire::proto::message_api::Envelope;

/// RabbitMQ 4 refuses messages over 16 MiB and closes the channel.
pub const MAX_BODY_BYTES: usize = 15 << 20;
/// Envelopes in one body. An empty envelope takes two bytes in a body and a hundred in memory: without this bound a hostile
/// body grows fifty times when decoded.
pub const MAX_ENVELOPES: usize = 8_192;
const MAX_SOURCE_BYTES: usize = 255;
const MAX_CURSOR_BYTES: usize = 1_024;
const VERSION: u32 = 1;

/// Why a body is not a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Longer than [`MAX_BODY_BYTES`].
    #[error("a body of {0} bytes; the limit is {MAX_BODY_BYTES}")]
    TooLong(usize),
    /// More than [`MAX_ENVELOPES`].
    #[error("more than {MAX_ENVELOPES} envelopes")]
    TooMany,
    /// Written by another program, or by a later version of this one.
    #[error("version {0}; this program reads version {VERSION}")]
    Version(u32),
    /// No name, or one that is too long or not text.
    #[error("the source has no usable name")]
    Source,
    /// A cursor that no source of ours writes.
    #[error("a cursor of {0} bytes; the limit is {MAX_CURSOR_BYTES}")]
    Cursor(usize),
    /// Not protobuf.
    #[error("not a page: {0}")]
    Malformed(String),
}

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(bytes = "bytes", optional, tag = "3")]
    cursor: Option<Bytes>,
    #[prost(message, repeated, tag = "4")]
    envelopes: Vec<Envelope>,
}

/// The bytes of a page.
///
/// # Errors
/// When [`decode`] would refuse them.
pub fn encode(page: Page) -> Result<Bytes, PageError> {
    if page.source.is_empty() || page.source.len() > MAX_SOURCE_BYTES {
        return Err(PageError::Source);
    }
    if let Some(cursor) = page.cursor.as_ref().filter(|cursor| cursor.len() > MAX_CURSOR_BYTES) {
        return Err(PageError::Cursor(cursor.len()));
    }
    if page.envelopes.len() > MAX_ENVELOPES {
        return Err(PageError::TooMany);
    }
    let body = Body {
        version: VERSION,
        source: page.source,
        cursor: page.cursor,
        envelopes: page.envelopes.into_iter().map(Envelope::from).collect(),
    };
    let length = body.encoded_len();
    if length > MAX_BODY_BYTES {
        return Err(PageError::TooLong(length));
    }
    Ok(body.encode_to_vec().into())
}

/// The page in these bytes; its envelopes are slices of them.
///
/// # Errors
/// Why they are not a page. Never panics, and never takes more than a few times their size in memory.
pub fn decode(mut body: Bytes) -> Result<Page, PageError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(PageError::TooLong(body.len()));
    }
    let mut version = 0;
    let mut page = Page { source: String::new(), cursor: None, envelopes: Vec::new() };
    while body.has_remaining() {
        match decode_key(&mut body).map_err(malformed)? {
            (1, WireType::Varint) => {
                let value = decode_varint(&mut body).map_err(malformed)?;
                version = u32::try_from(value).unwrap_or(u32::MAX);
            }
            (2, WireType::LengthDelimited) => {
                let name = delimited(&mut body)?;
                page.source = std::str::from_utf8(&name).map_err(|_| PageError::Source)?.to_owned();
            }
            (3, WireType::LengthDelimited) => page.cursor = Some(delimited(&mut body)?),
            (4, WireType::LengthDelimited) => {
                if page.envelopes.len() >= MAX_ENVELOPES {
                    return Err(PageError::TooMany);
                }
                let envelope = Envelope::decode(delimited(&mut body)?).map_err(malformed)?;
                page.envelopes.push(envelope.into());
            }
            (tag, wire_type) => {
                skip_field(wire_type, tag, &mut body, DecodeContext::default())
                    .map_err(malformed)?;
            }
        }
    }
    if version != VERSION {
        return Err(PageError::Version(version));
    }
    if page.source.is_empty() || page.source.len() > MAX_SOURCE_BYTES {
        return Err(PageError::Source);
    }
    match &page.cursor {
        Some(cursor) if cursor.len() > MAX_CURSOR_BYTES => Err(PageError::Cursor(cursor.len())),
        _ => Ok(page),
    }
}

fn delimited(body: &mut Bytes) -> Result<Bytes, PageError> {
    let length = decode_varint(body).map_err(malformed)?;
    match usize::try_from(length) {
        Ok(length) if length <= body.len() => Ok(body.split_to(length)),
        _ => Err(PageError::Malformed("it ends in the middle of a field".into())),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "shape of map_err")]
fn malformed(error: prost::DecodeError) -> PageError {
    PageError::Malformed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(range: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), range).prop_map(Bytes::from)
    }

    fn envelope() -> impl Strategy<Value = wire::Envelope> {
        (bytes(0..40), any::<u64>(), bytes(0..200)).prop_map(|(topic, timestamp_ns, message)| {
            wire::Envelope { topic, timestamp_ns, message }
        })
    }

    fn page() -> impl Strategy<Value = Page> {
        ("[a-z]{1,9}", prop::option::of(bytes(0..30)), prop::collection::vec(envelope(), 0..20))
            .prop_map(|(source, cursor, envelopes)| Page { source, cursor, envelopes })
    }

    proptest! {
        #[test]
        fn a_page_comes_back_as_it_was(page in page()) {
            let (source, cursor, envelopes) = (page.source.clone(), page.cursor.clone(), page.envelopes.clone());
            let back = decode(encode(page).unwrap()).unwrap();
            prop_assert_eq!(back.source, source);
            prop_assert_eq!(back.cursor, cursor);
            prop_assert_eq!(back.envelopes, envelopes);
        }

        #[test]
        fn any_bytes_are_a_page_or_a_reason(body in bytes(0..400)) {
            let _ = decode(body);
        }

        #[test]
        fn a_damaged_page_is_a_page_or_a_reason(page in page(), at in any::<prop::sample::Index>(), with in any::<u8>(), keep in any::<prop::sample::Index>()) {
            let mut body = encode(page).unwrap().to_vec();
            let at = at.index(body.len());
            body[at] = with;
            body.truncate(keep.index(body.len() + 1));
            let _ = decode(body.into());
        }
    }

    #[test]
    fn a_small_body_cannot_become_many_envelopes() {
        let body: Vec<u8> = [0x22, 0x00].repeat(MAX_ENVELOPES + 1);
        assert_eq!(decode(body.into()).unwrap_err(), PageError::TooMany);
    }

    #[test]
    fn a_body_of_a_later_version_says_so() {
        let body = Body { version: 2, source: "a".into(), cursor: None, envelopes: vec![] };
        assert_eq!(decode(body.encode_to_vec().into()).unwrap_err(), PageError::Version(2));
    }

    #[test]
    fn a_body_over_the_limit_is_neither_written_nor_read() {
        let message = Bytes::from(vec![0; MAX_BODY_BYTES]);
        let envelope = wire::Envelope { topic: Bytes::from_static(b"t"), timestamp_ns: 0, message };
        let page = Page { source: "a".into(), cursor: None, envelopes: vec![envelope] };
        assert!(matches!(encode(page), Err(PageError::TooLong(_))));
        assert!(matches!(decode(vec![0; MAX_BODY_BYTES + 1].into()), Err(PageError::TooLong(_))));
    }

    #[test]
    fn envelopes_are_slices_of_the_body() {
        let envelope = wire::Envelope {
            topic: Bytes::from_static(b"topic"),
            timestamp_ns: 1,
            message: vec![7; 64].into(),
        };
        let body =
            encode(Page { source: "a".into(), cursor: None, envelopes: vec![envelope] }).unwrap();
        let bounds = body.as_ptr_range();
        let page = decode(body).unwrap();
        assert!(bounds.contains(&page.envelopes[0].message.as_ptr()));
    }
}
