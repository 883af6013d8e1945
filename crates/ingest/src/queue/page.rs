//! The body of one message in the queue: a page of records of one source.
//!
//! ```text
//! message Page {
//!   uint32 version = 1;              // 3; the first field of every version
//!   string source = 2;
//!   repeated Progress progress = 3;  // see below
//!   repeated Record records = 4;
//!   string network = 5;              // `network` of the configuration
//! }
//! message Progress {
//!   string shard = 1;
//!   sint64 upto = 2;
//! }
//! message Record {
//!   xmtp.message_api.v1.Envelope envelope = 1;
//!   optional uint32 space = 2;       // both or neither: the number that the source assigned to the envelope
//!   optional uint64 sequence = 3;
//! }
//! ```
//!
//! Progress states that everything of a shard up to a value is durable. It is published only after the broker has confirmed
//! every page before it. So whichever worker commits it, and in whatever order, what it vouches for is in the log or in the
//! queue.
//!
//! A page of another version or another network is not a bad page: a worker that meets one stops and leaves it in the queue
//! ([`PageError::is_foreign`]). A change of the format that this decoder would misread raises the version; a new field that it
//! may skip does not.

use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};
use store::Page;
use store::append::Origin;
use wire::proto::message_api::Envelope;

/// The longest body. RabbitMQ 4 refuses messages over 16 MiB and closes the channel.
pub const MAX_BODY_BYTES: usize = 15 << 20;
/// The most records in one body. An empty record takes two bytes in a body and a hundred in memory: without this bound a
/// hostile body grows fifty times when it is decoded.
pub const MAX_RECORDS: usize = 8_192;
/// The most shards whose progress one body states.
pub const MAX_SHARDS: usize = 1_024;
/// The longest name of a source or a shard.
const MAX_NAME_BYTES: usize = 255;
/// The version that is written and read.
pub const VERSION: u32 = 3;
/// A body whose version is larger is no page: versions are counted by hand.
const MAX_VERSION: u64 = 10_000;

/// Why a body is not a page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Longer than [`MAX_BODY_BYTES`].
    #[error("a body of {0} bytes; the limit is {MAX_BODY_BYTES}")]
    TooLong(usize),
    /// More than [`MAX_RECORDS`].
    #[error("more than {MAX_RECORDS} records")]
    TooMany,
    /// More than [`MAX_SHARDS`].
    #[error("progress of more than {MAX_SHARDS} shards")]
    TooManyShards,
    /// Written by another version of this program.
    #[error(
        "a page of format version {0}, and this worker reads version {VERSION}: run the worker of the release that wrote it"
    )]
    Version(u32),
    /// A page of another network.
    #[error(
        "a page of the network {page:?}, and this worker indexes {ours:?}: correct `network`, or give each network a queue.prefix of its own"
    )]
    Network {
        /// The network in the page.
        page: String,
        /// The network that was expected.
        ours: String,
    },
    /// The name of the network is missing, longer than 255 bytes, not UTF-8, or has a NUL in it.
    #[error("the network has no usable name")]
    NetworkName,
    /// The name of the source is missing, longer than 255 bytes, not UTF-8, or has a NUL in it.
    #[error("the source has no usable name")]
    Source,
    /// The name of a shard is missing, longer than 255 bytes, not UTF-8, or has a NUL in it.
    #[error("a shard has no usable name")]
    Shard,
    /// Not protobuf, or not these messages.
    #[error("not a page: {0}")]
    Malformed(String),
}

impl PageError {
    /// Whether the body is a page that another worker can take, in contrast to one that no worker ever can.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::Version(_) | Self::Network { .. })
    }
}

#[derive(Clone, PartialEq, Message)]
struct Body {
    #[prost(uint32, tag = "1")]
    version: u32,
    #[prost(string, tag = "2")]
    source: String,
    #[prost(message, repeated, tag = "3")]
    progress: Vec<Progress>,
    #[prost(message, repeated, tag = "4")]
    records: Vec<Record>,
    #[prost(string, tag = "5")]
    network: String,
}

#[derive(Clone, PartialEq, Message)]
struct Progress {
    #[prost(string, tag = "1")]
    shard: String,
    #[prost(sint64, tag = "2")]
    upto: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Record {
    #[prost(message, optional, tag = "1")]
    envelope: Option<Envelope>,
    #[prost(uint32, optional, tag = "2")]
    space: Option<u32>,
    #[prost(uint64, optional, tag = "3")]
    sequence: Option<u64>,
}

/// Encodes a page of a network.
///
/// # Errors
/// When [`decode`] would refuse the bytes.
pub fn encode(page: Page, network: &str) -> Result<Bytes, PageError> {
    if !is_name(network) {
        return Err(PageError::NetworkName);
    }
    if !is_name(&page.source) {
        return Err(PageError::Source);
    }
    if page.progress.len() > MAX_SHARDS {
        return Err(PageError::TooManyShards);
    }
    if page.progress.iter().any(|progress| !is_name(&progress.shard)) {
        return Err(PageError::Shard);
    }
    if page.records.len() > MAX_RECORDS {
        return Err(PageError::TooMany);
    }
    let progress = page.progress.into_iter();
    let body = Body {
        version: VERSION,
        source: page.source,
        progress: progress.map(|one| Progress { shard: one.shard, upto: one.upto }).collect(),
        records: page.records.into_iter().map(Record::from).collect(),
        network: network.to_owned(),
    };
    let length = body.encoded_len();
    if length > MAX_BODY_BYTES {
        return Err(PageError::TooLong(length));
    }
    Ok(body.encode_to_vec().into())
}

/// Decodes a page of a network; its envelopes are slices of the body.
///
/// # Errors
/// Why the body is not such a page. Never panics, and never takes more than a few times the body's size in memory.
pub fn decode(mut body: Bytes, network: &str) -> Result<Page, PageError> {
    if body.len() > MAX_BODY_BYTES {
        return Err(PageError::TooLong(body.len()));
    }
    // Before anything else is read: another version may have other fields under the same tags.
    let version = version(&mut body)?;
    if version != VERSION {
        return Err(PageError::Version(version));
    }
    let mut page = Page { source: String::new(), progress: Vec::new(), records: Vec::new() };
    let mut of_network = String::new();
    while body.has_remaining() {
        match decode_key(&mut body).map_err(malformed)? {
            (2, WireType::LengthDelimited) => {
                let name = delimited(&mut body)?;
                page.source = std::str::from_utf8(&name).map_err(|_| PageError::Source)?.to_owned();
            }
            (3, WireType::LengthDelimited) => {
                if page.progress.len() >= MAX_SHARDS {
                    return Err(PageError::TooManyShards);
                }
                let progress = Progress::decode(delimited(&mut body)?).map_err(malformed)?;
                if !is_name(&progress.shard) {
                    return Err(PageError::Shard);
                }
                page.progress.push(store::Progress { shard: progress.shard, upto: progress.upto });
            }
            (4, WireType::LengthDelimited) => {
                if page.records.len() >= MAX_RECORDS {
                    return Err(PageError::TooMany);
                }
                let record = Record::decode(delimited(&mut body)?).map_err(malformed)?;
                page.records.push(record.try_into()?);
            }
            (5, WireType::LengthDelimited) => {
                let name = delimited(&mut body)?;
                let name = std::str::from_utf8(&name).map_err(|_| PageError::NetworkName)?;
                name.clone_into(&mut of_network);
            }
            (tag, wire_type) => {
                skip_field(wire_type, tag, &mut body, DecodeContext::default())
                    .map_err(malformed)?;
            }
        }
    }
    if !is_name(&page.source) {
        return Err(PageError::Source);
    }
    if !is_name(&of_network) {
        return Err(PageError::NetworkName);
    }
    if of_network != network {
        return Err(PageError::Network { page: of_network, ours: network.to_owned() });
    }
    Ok(page)
}

/// Reads the version, with which the body of every version begins.
fn version(body: &mut Bytes) -> Result<u32, PageError> {
    let wrong = || PageError::Malformed("it does not begin with a version".into());
    match decode_key(body) {
        Ok((1, WireType::Varint)) => match decode_varint(body) {
            Ok(version @ 1..=MAX_VERSION) => u32::try_from(version).map_err(|_| wrong()),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// Names are stored in columns of type text, which take no NUL.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.contains('\0')
}

impl From<store::Record> for Record {
    fn from(record: store::Record) -> Record {
        Record {
            envelope: Some(record.envelope.into()),
            space: record.origin.map(|origin| origin.space),
            sequence: record.origin.map(|origin| origin.sequence),
        }
    }
}

impl TryFrom<Record> for store::Record {
    type Error = PageError;

    fn try_from(record: Record) -> Result<store::Record, PageError> {
        let wrong = |what: &str| PageError::Malformed(what.to_owned());
        let envelope = record.envelope.ok_or_else(|| wrong("a record without an envelope"))?;
        let origin = match (record.space, record.sequence) {
            (Some(space), Some(sequence)) => Some(Origin { space, sequence }),
            (None, None) => None,
            _ => return Err(wrong("a record with half a number")),
        };
        Ok(store::Record { envelope: envelope.into(), origin })
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
mod tests;
