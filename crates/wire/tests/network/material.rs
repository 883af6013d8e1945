//! Reads the data that the tests are about.

use std::io::Read as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::Value;
use wire::Verifier;

/// One for all tests, as in the program.
pub(crate) static VERIFIER: LazyLock<Verifier> = LazyLock::new(Verifier::default);

/// The published vectors.
pub(crate) static VECTORS: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("../../testdata/vectors-legacy.json")).unwrap()
});

/// A text at a path like `alice/wallet_address`.
pub(crate) fn text(path: &str) -> &'static str {
    let value = VECTORS.pointer(&format!("/{path}"));
    value.and_then(Value::as_str).unwrap_or_else(|| panic!("no text at {path}"))
}

/// Bytes that are written in hex.
pub(crate) fn bytes(path: &str) -> Bytes {
    Bytes::from(hex::decode(text(path)).unwrap())
}

/// The lines of a compressed capture.
pub(crate) fn lines(name: &str) -> Vec<String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../devnet/captures").join(name);
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut all = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut all).unwrap();
    all.lines().map(str::to_owned).collect()
}

/// The rows of a compressed capture.
pub(crate) fn rows(name: &str) -> Vec<Value> {
    lines(name).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}
