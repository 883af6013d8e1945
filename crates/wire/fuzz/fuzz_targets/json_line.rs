//! Any line that is said to be an envelope: what is read is written and read again the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use wire::json;

fuzz_target!(|line: &str| {
    let Ok(envelope) = json::from_line(line) else { return };
    let Ok(topic) = std::str::from_utf8(&envelope.topic) else { return };
    let written = json::to_line(topic, envelope.timestamp_ns, &envelope.message);
    assert_eq!(json::from_line(&written).ok(), Some(envelope));
});
