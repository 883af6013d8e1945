//! The JSON form of an envelope, as HTTP gateways of nodes write it:
//! `{"contentTopic":"…","timestampNs":"…","message":"…"}`.

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use crate::Envelope;

/// Readers of protobuf's JSON take padding or none.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const LENIENT_STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const LENIENT_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Why a text is no envelope.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not the members that an envelope has.
    #[error("not an envelope in JSON: {0}")]
    Shape(#[from] serde_json::Error),
    /// The time is not a whole number of 64 bits.
    #[error("timestampNs must be a whole number from 0 to 18446744073709551615")]
    Timestamp,
    /// The message is not base64.
    #[error("message must be base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// A member is not there, or null.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The node ended its stream with an error.
    #[error("an error of the node, not an envelope")]
    NodeError,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    content_topic: &'a str,
    timestamp_ns: String,
    message: String,
}

/// An envelope's members, a frame of a streamed answer around them, or the answer to a query.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line<'a> {
    #[serde(alias = "content_topic", borrow)]
    content_topic: Option<Cow<'a, str>>,
    #[serde(alias = "timestamp_ns")]
    timestamp_ns: Option<Number>,
    #[serde(borrow)]
    message: Option<Cow<'a, str>>,
    #[serde(borrow)]
    result: Option<Box<Line<'a>>>,
    #[serde(borrow)]
    envelopes: Option<Vec<Line<'a>>>,
    error: Option<IgnoredAny>,
}

/// Gateways write 64-bit numbers as text and read them as either.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Text(String),
    Plain(u64),
}

/// The line for an envelope, without a line break.
pub fn to_line(topic: &str, timestamp_ns: u64, message: &[u8]) -> String {
    let written = Written {
        content_topic: topic,
        timestamp_ns: timestamp_ns.to_string(),
        message: STANDARD.encode(message),
    };
    // Three strings always serialise; an empty line would be refused by from_line.
    serde_json::to_string(&written).unwrap_or_default()
}

/// Parses the envelope of a line. Takes what protobuf's JSON readers take: names in either spelling,
/// numbers as text or plain, both base64 alphabets with or without padding, unknown members, and
/// the `{"result":…}` frame of a stream. All three members must be there.
///
/// # Errors
/// What is wrong with the text.
pub fn from_line(line: &str) -> Result<Envelope, JsonError> {
    framed(line)?.envelope()
}

/// Parses the envelopes of one JSON object: an envelope as [`from_line`] takes it, or a gateway's answer to a query, an object
/// with a list of `envelopes`.
///
/// # Errors
/// What is wrong with the text, or with the first envelope that is wrong.
pub fn from_object(text: &str) -> Result<Vec<Envelope>, JsonError> {
    let mut line = framed(text)?;
    match line.envelopes.take() {
        Some(envelopes) => envelopes.into_iter().map(Line::envelope).collect(),
        None => Ok(vec![line.envelope()?]),
    }
}

/// The object of a text, out of the frame that a stream puts around it.
fn framed(text: &str) -> Result<Line<'_>, JsonError> {
    let mut line: Line<'_> = serde_json::from_str(text)?;
    if line.error.is_some() {
        return Err(JsonError::NodeError);
    }
    Ok(line.result.take().map_or(line, |result| *result))
}

impl Line<'_> {
    fn envelope(self) -> Result<Envelope, JsonError> {
        let topic = self.content_topic.ok_or(JsonError::Missing("contentTopic"))?;
        let timestamp_ns = match self.timestamp_ns.ok_or(JsonError::Missing("timestampNs"))? {
            Number::Plain(number) => number,
            Number::Text(text) => text.parse().map_err(|_| JsonError::Timestamp)?,
        };
        let message = self.message.ok_or(JsonError::Missing("message"))?;
        let url_safe = message.contains(['-', '_']);
        let engine = if url_safe { &LENIENT_URL } else { &LENIENT_STANDARD };
        let message = engine.decode(message.as_bytes())?;
        Ok(Envelope {
            topic: Bytes::from(topic.into_owned()),
            timestamp_ns,
            message: Bytes::from(message),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let line = to_line("/xmtp/0/m-\"ü/proto", u64::MAX, &[0xfb, 0xff, 0]);
        assert_eq!(
            line,
            r#"{"contentTopic":"/xmtp/0/m-\"ü/proto","timestampNs":"18446744073709551615","message":"+/8A"}"#
        );
        let envelope = from_line(&line).unwrap();
        assert_eq!(envelope.topic, "/xmtp/0/m-\"ü/proto");
        assert_eq!(envelope.timestamp_ns, u64::MAX);
        assert_eq!(envelope.message, [0xfb, 0xff, 0].as_slice());
    }

    #[test]
    fn takes_the_spellings_of_other_writers() {
        let plain =
            from_line(r#"{"contentTopic":"t","timestampNs":"5","message":"+/8="}"#).unwrap();
        for line in [
            r#"{"content_topic":"t","timestamp_ns":5,"message":"-_8"}"#,
            r#" {"message":"+/8","more":[1,{}],"timestampNs":"5","contentTopic":"t"} "#,
            r#"{"result":{"contentTopic":"t","timestampNs":5,"message":"+/8="}}"#,
        ] {
            assert_eq!(from_line(line).unwrap(), plain, "{line}");
        }
    }

    #[test]
    fn takes_the_answer_to_a_query() {
        let one = r#"{"contentTopic":"t","timestampNs":"5","message":"+/8="}"#;
        let envelope = from_line(one).unwrap();
        assert_eq!(from_object(one).unwrap(), std::slice::from_ref(&envelope));
        let answer = format!(r#"{{"envelopes":[{one},{one}],"pagingInfo":{{"limit":2}}}}"#);
        assert_eq!(from_object(&answer).unwrap(), [envelope.clone(), envelope]);
        assert!(from_object(r#"{"envelopes":[]}"#).unwrap().is_empty());
        let error = from_object(r#"{"envelopes":[{"contentTopic":"t"}]}"#).unwrap_err();
        assert!(matches!(error, JsonError::Missing("timestampNs")), "{error}");
    }

    #[test]
    fn says_what_is_wrong() {
        for (line, reason) in [
            (r#"{"contentTopic":"t","message":""}"#, "timestampNs is missing"),
            (r#"{"contentTopic":null,"timestampNs":1,"message":""}"#, "contentTopic is missing"),
            (r#"{"contentTopic":"t","timestampNs":"-1","message":""}"#, "whole number"),
            (r#"{"contentTopic":"t","timestampNs":1,"message":"*"}"#, "base64"),
            (r#"{"error":{"code":14}}"#, "error of the node"),
            (r#"{"contentTopic":"#, "not an envelope in JSON"),
            ("[]", "not an envelope in JSON"),
        ] {
            let error = from_line(line).unwrap_err().to_string();
            assert!(error.contains(reason), "{line}: {error}");
        }
    }
}
