//! What tests of this kind of node share.

use std::io::Read as _;

/// Invitations of the capture of official clients.
pub(super) fn invitations() -> Vec<wire::Envelope> {
    let path =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../devnet/captures/legacy-a/envelopes.ndjson.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text.lines()
        .map(|line| wire::json::from_line(line).unwrap())
        .filter(|envelope: &wire::Envelope| envelope.topic.starts_with(b"/xmtp/0/invite-"))
        .collect()
}
