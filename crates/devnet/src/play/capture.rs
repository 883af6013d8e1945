//! Reads captured traffic.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
use wire::{Envelope, TopicKind};

use crate::options::Error;

/// What a gzipped file begins with. Looked for in the bytes: names lie.
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The envelopes of a file, in its order. Empty lines are skipped.
pub(crate) fn load(path: &Path) -> Result<Vec<Envelope>, Error> {
    let unreadable = |reason| Error::Capture { path: path.to_owned(), reason };
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let gzipped = file.fill_buf().map_err(unreadable)?.starts_with(&GZIP);
    let reader: Box<dyn Read> =
        if gzipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut topics = HashSet::new();
    let mut envelopes = Vec::new();
    for (number, line) in BufReader::new(reader).lines().enumerate() {
        let line = line.map_err(unreadable)?;
        if line.trim().is_empty() {
            continue;
        }
        let mut envelope = wire::json::from_line(&line).map_err(|reason| Error::CaptureLine {
            path: path.to_owned(),
            line: number + 1,
            reason,
        })?;
        // Thousands of envelopes share a topic: one copy of its name is enough.
        envelope.topic = shared(&mut topics, envelope.topic);
        envelopes.push(envelope);
    }
    Ok(envelopes)
}

fn shared(topics: &mut HashSet<Bytes>, topic: Bytes) -> Bytes {
    match topics.get(&topic) {
        Some(known) => known.clone(),
        None => {
            topics.insert(topic.clone());
            topic
        }
    }
}

/// Moves the envelopes so that the latest is from `now_ns`; those whose payload repeats the time
/// stay where they are.
pub(crate) fn shift(envelopes: &mut [Envelope], now_ns: u64) {
    let moving = |envelope: &Envelope| moves(&envelope.topic);
    let latest = envelopes.iter().filter(|e| moving(e)).map(|e| e.timestamp_ns).max();
    let Some(by) = latest.map(|latest| i128::from(now_ns) - i128::from(latest)) else { return };
    for envelope in envelopes.iter_mut().filter(|e| moving(e)) {
        let moved = (i128::from(envelope.timestamp_ns) + by).max(0);
        envelope.timestamp_ns = u64::try_from(moved).unwrap_or(u64::MAX);
    }
}

fn moves(topic: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(topic) else { return false };
    matches!(
        wire::Topic::parse(name).kind(),
        TopicKind::Contact
            | TopicKind::Conversation
            | TopicKind::Preferences
            | TopicKind::PrivateStore
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const LINES: &str = "{\"contentTopic\":\"/xmtp/0/m-a/proto\",\"timestampNs\":\"5\",\"message\":\"AA==\"}\n\n{\"contentTopic\":\"/xmtp/0/m-a/proto\",\"timestampNs\":9,\"message\":\"_w\"}\n";

    #[test]
    fn reads_plain_and_gzipped() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("plain");
        std::fs::write(&plain, LINES).unwrap();
        let gzipped = folder.path().join("gzipped");
        let file = File::create(&gzipped).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(LINES.as_bytes()).unwrap();
        encoder.finish().unwrap();
        let envelopes = load(&plain).unwrap();
        assert_eq!(envelopes, load(&gzipped).unwrap());
        assert_eq!(envelopes.iter().map(|e| e.timestamp_ns).collect::<Vec<_>>(), [5, 9]);
        assert_eq!(envelopes[0].topic.as_ptr(), envelopes[1].topic.as_ptr());
    }

    #[test]
    fn names_the_line_that_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.ndjson");
        std::fs::write(&path, format!("{LINES}{{\"contentTopic\":1}}\n")).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.starts_with("line 4 of the capture "), "{error}");
        let error = load(&folder.path().join("missing")).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
    }

    #[test]
    fn shifts_only_what_clients_would_still_take() {
        let envelope = |topic: &str, time| Envelope {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            timestamp_ns: time,
            message: Bytes::new(),
        };
        let invite = "/xmtp/0/invite-0x787729c0d2246B846A422Ada7c5Fde9EB9BfC986/proto";
        let mut envelopes = vec![
            envelope("/xmtp/0/m-a/proto", 100),
            envelope(invite, 120),
            envelope("/xmtp/0/m-b/proto", 150),
        ];
        shift(&mut envelopes, 1_150);
        assert_eq!(
            envelopes.iter().map(|e| e.timestamp_ns).collect::<Vec<_>>(),
            [1_100, 120, 1_150]
        );
        shift(&mut envelopes, 0);
        assert_eq!(envelopes[0].timestamp_ns, 0);
    }
}
