//! The captures that are in the repository, and what must not be in any answer.

use std::{fs::File, io::Read as _, path::PathBuf};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE},
};
use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use prost::Message as _;
use serde_json::Value;
use wire::Envelope;

/// Where a capture is.
pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../crates/devnet/captures").join(name)
}

/// The text of a compressed capture.
pub fn text(name: &str) -> String {
    let path = path(name);
    let file = File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// The rows of a compressed capture.
pub fn rows(name: &str) -> Vec<Value> {
    text(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The envelopes of a compressed capture.
pub fn envelopes(name: &str) -> Vec<Envelope> {
    text(name).lines().map(|line| wire::json::from_line(line).unwrap()).collect()
}

/// The envelope that a row of the hostile capture gives as protobuf.
pub fn envelope_proto(row: &Value) -> Envelope {
    let bytes = STANDARD.decode(row["envelopeProto"].as_str().unwrap()).unwrap();
    wire::proto::message_api::Envelope::decode(Bytes::from(bytes)).unwrap().into()
}

/// Whether an envelope is one whose bytes never leave.
pub fn is_private(envelope: &Envelope) -> bool {
    std::str::from_utf8(&envelope.topic).is_ok_and(wire::topic::is_private)
}

/// Texts by which the bytes of private stores would be known in an answer: parts of them, in every alphabet and at every
/// place that base64 can put them.
pub fn betraying<'a>(envelopes: impl IntoIterator<Item = &'a Envelope>) -> Vec<String> {
    let mut texts = Vec::new();
    for envelope in envelopes.into_iter().filter(|envelope| is_private(envelope)) {
        let message = &envelope.message;
        let middle = message.len() / 2;
        for shift in 0..3 {
            let Some(part) = message.get(middle + shift..middle + shift + 30) else { continue };
            texts.push(STANDARD.encode(part));
            texts.push(URL_SAFE.encode(part));
        }
        if let Some(part) = message.get(middle..middle + 30) {
            texts.push(hex::encode(part));
        }
    }
    assert!(!texts.is_empty(), "no private store is among the envelopes");
    texts
}
