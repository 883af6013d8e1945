//! Protobuf's JSON form of the requests and answers.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use serde::de::{Deserializer, Error as _, Visitor};
use serde::{Deserialize, Serialize};
use wire::proto::message_api::{
    BatchQueryRequest, BatchQueryResponse, Cursor, Envelope, IndexCursor, PagingInfo,
    PublishRequest, PublishResponse, QueryRequest, QueryResponse, SortDirection,
    SubscribeAllRequest, SubscribeRequest, cursor,
};

/// A request that can be read from JSON: names in either spelling, unknown members ignored.
pub(super) trait FromJson: Sized {
    fn from_json(body: &[u8]) -> Result<Self, serde_json::Error>;
}

/// An answer that can be written as JSON: every member, set or not.
pub(super) trait ToJson {
    fn to_json(&self) -> String;
}

/// Reads `T` by way of its shape in JSON.
macro_rules! from_json {
    ($($message:ty: $shape:ty),* $(,)?) => {$(
        impl FromJson for $message {
            fn from_json(body: &[u8]) -> Result<Self, serde_json::Error> {
                serde_json::from_slice::<$shape>(body).map(Self::from)
            }
        }
    )*};
}

from_json! {
    PublishRequest: Publish,
    QueryRequest: Query,
    BatchQueryRequest: BatchQuery,
    SubscribeRequest: Subscribe,
    SubscribeAllRequest: SubscribeAll,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SubscribeAll {}

impl From<SubscribeAll> for SubscribeAllRequest {
    fn from(_: SubscribeAll) -> Self {
        SubscribeAllRequest {}
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Subscribe {
    #[serde(alias = "content_topics", deserialize_with = "null_is_unset")]
    content_topics: Vec<String>,
}

impl From<Subscribe> for SubscribeRequest {
    fn from(shape: Subscribe) -> Self {
        SubscribeRequest { content_topics: shape.content_topics }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Publish {
    #[serde(deserialize_with = "null_is_unset")]
    envelopes: Vec<Published>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Published {
    #[serde(alias = "content_topic", deserialize_with = "null_is_unset")]
    content_topic: String,
    #[serde(alias = "timestamp_ns", deserialize_with = "null_is_unset")]
    timestamp_ns: Number<u64>,
    #[serde(deserialize_with = "null_is_unset")]
    message: Blob,
}

impl From<Publish> for PublishRequest {
    fn from(shape: Publish) -> Self {
        let envelope = |shape: Published| Envelope {
            content_topic: shape.content_topic.into(),
            timestamp_ns: shape.timestamp_ns.0,
            message: shape.message.0,
        };
        PublishRequest { envelopes: shape.envelopes.into_iter().map(envelope).collect() }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct BatchQuery {
    #[serde(deserialize_with = "null_is_unset")]
    requests: Vec<Query>,
}

impl From<BatchQuery> for BatchQueryRequest {
    fn from(shape: BatchQuery) -> Self {
        BatchQueryRequest { requests: shape.requests.into_iter().map(Into::into).collect() }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Query {
    #[serde(alias = "content_topics", deserialize_with = "null_is_unset")]
    content_topics: Vec<String>,
    #[serde(alias = "start_time_ns", deserialize_with = "null_is_unset")]
    start_time_ns: Number<u64>,
    #[serde(alias = "end_time_ns", deserialize_with = "null_is_unset")]
    end_time_ns: Number<u64>,
    #[serde(alias = "paging_info")]
    paging_info: Option<Paging>,
}

impl From<Query> for QueryRequest {
    fn from(shape: Query) -> Self {
        QueryRequest {
            content_topics: shape.content_topics,
            start_time_ns: shape.start_time_ns.0,
            end_time_ns: shape.end_time_ns.0,
            paging_info: shape.paging_info.map(|paging| PagingInfo {
                limit: paging.limit.0,
                cursor: paging.cursor.map(|shape| Cursor {
                    cursor: shape.index.map(|index| {
                        cursor::Cursor::Index(IndexCursor {
                            digest: index.digest.0,
                            sender_time_ns: index.sender_time_ns.0,
                        })
                    }),
                }),
                direction: paging.direction.0,
            }),
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Paging {
    #[serde(deserialize_with = "null_is_unset")]
    limit: Number<u32>,
    cursor: Option<CursorShape>,
    #[serde(deserialize_with = "null_is_unset")]
    direction: Direction,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CursorShape {
    index: Option<Index>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Index {
    #[serde(deserialize_with = "null_is_unset")]
    digest: Blob,
    #[serde(alias = "sender_time_ns", deserialize_with = "null_is_unset")]
    sender_time_ns: Number<u64>,
}

fn null_is_unset<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// A whole number, as text or plain.
#[derive(Default)]
struct Number<T>(T);

impl<'de, T: FromStr + TryFrom<u64>> Deserialize<'de> for Number<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);
        impl<T: FromStr + TryFrom<u64>> Visitor<'_> for Reader<T> {
            type Value = Number<T>;
            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("a whole number, as text or plain")
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Number<T>, E> {
                T::try_from(number).map(Number).map_err(|_| E::custom("the number is too large"))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Number<T>, E> {
                let number = text.parse().map_err(|_| E::custom("not a whole number that fits"))?;
                Ok(Number(number))
            }
        }
        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// Bytes in base64, of either alphabet, padded or not.
#[derive(Default)]
struct Blob(Bytes);

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const ANY_PADDING: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        let text = String::deserialize(deserializer)?;
        let alphabet =
            if text.contains(['-', '_']) { alphabet::URL_SAFE } else { alphabet::STANDARD };
        let bytes = GeneralPurpose::new(&alphabet, ANY_PADDING)
            .decode(text)
            .map_err(|error| D::Error::custom(format_args!("not base64: {error}")))?;
        Ok(Blob(bytes.into()))
    }
}

/// A sort direction, by name or number.
#[derive(Default)]
struct Direction(i32);

impl<'de> Deserialize<'de> for Direction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(i32),
            Name(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(number) => Ok(Direction(number)),
            Either::Name(name) => SortDirection::from_str_name(&name)
                .map(|direction| Direction(direction as i32))
                .ok_or_else(|| D::Error::custom(format_args!("no sort direction: {name}"))),
        }
    }
}

impl ToJson for PublishResponse {
    fn to_json(&self) -> String {
        "{}".to_owned()
    }
}

impl ToJson for QueryResponse {
    fn to_json(&self) -> String {
        let envelopes: Vec<String> = self
            .envelopes
            .iter()
            .map(|envelope| {
                let topic = String::from_utf8_lossy(&envelope.content_topic);
                wire::json::to_line(&topic, envelope.timestamp_ns, &envelope.message)
            })
            .collect();
        let paging = self.paging_info.as_ref().map(WrittenPaging::of);
        // Text and numbers always serialise.
        let paging = serde_json::to_string(&paging).unwrap_or_else(|_| "null".to_owned());
        format!("{{\"envelopes\":[{}],\"pagingInfo\":{paging}}}", envelopes.join(","))
    }
}

impl ToJson for BatchQueryResponse {
    fn to_json(&self) -> String {
        let responses: Vec<String> = self.responses.iter().map(ToJson::to_json).collect();
        format!("{{\"responses\":[{}]}}", responses.join(","))
    }
}

#[derive(Serialize)]
struct WrittenPaging {
    limit: u32,
    cursor: Option<WrittenCursor>,
    direction: serde_json::Value,
}

#[derive(Serialize)]
struct WrittenCursor {
    index: WrittenIndex,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct WrittenIndex {
    digest: String,
    sender_time_ns: String,
}

impl WrittenPaging {
    fn of(paging: &PagingInfo) -> Self {
        let cursor = paging.cursor.as_ref().and_then(|cursor| cursor.cursor.as_ref());
        WrittenPaging {
            limit: paging.limit,
            cursor: cursor.map(|cursor::Cursor::Index(index)| WrittenCursor {
                index: WrittenIndex {
                    digest: STANDARD.encode(&index.digest),
                    sender_time_ns: index.sender_time_ns.to_string(),
                },
            }),
            // A value without a name is written as its number.
            direction: SortDirection::try_from(paging.direction)
                .map_or(paging.direction.into(), |known| known.as_str_name().into()),
        }
    }
}
