//! Any envelope: the first byte is the length of its topic, eight more are its time.
#![no_main]

use std::sync::LazyLock;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use wire::{Envelope, Verifier, admit, read};

static VERIFIER: LazyLock<Verifier> = LazyLock::new(Verifier::default);

/// Choices for the topic, so that every decoder is reached at once.
const TOPICS: [&str; 10] = [
    "/xmtp/0/contact-0x787729c0d2246B846A422Ada7c5Fde9EB9BfC986/proto",
    "/xmtp/0/intro-0x787729c0d2246B846A422Ada7c5Fde9EB9BfC986/proto",
    "/xmtp/0/invite-0x787729c0d2246B846A422Ada7c5Fde9EB9BfC986/proto",
    "/xmtp/0/dm-0x2EC40Cc17676fb9533B6d5bDAB59C6055B642DBf-0x787729c0d2246B846A422Ada7c5Fde9EB9BfC986/proto",
    "/xmtp/0/m-4d51f62f78fa58484ba52d332cfd140ee1f032270e6f258e751adf4bc64148ba/proto",
    "/xmtp/0/mE-4d51f62f78fa58484ba52d332cfd140ee1f032270e6f258e751adf4bc64148ba/proto",
    "/xmtp/0/privatestore-0x787729c0d2246B846A422Ada7c5Fde9EB9BfC986/key_bundle/proto",
    "/xmtp/0/userpreferences-zqOEtmIMJeMgmJhovdhPsywhz5dHOGwfx0q-F8HAczQ/proto",
    "/xmtp/mls/1/g-365e7a9ba4685bd027f52a2c8d1e0f3f/proto",
    "/xmtp/mls/1/w-502f8b27665e7b4c3bb002ee606120ac077d61dc4af1551409dcab8e03ec36af/proto",
];

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    let Some((time, rest)) = rest.split_first_chunk::<8>() else { return };
    let (topic, message) = match TOPICS.get(usize::from(first)) {
        Some(topic) => (topic.as_bytes(), rest),
        None => rest.split_at(rest.len().min(usize::from(first))),
    };
    let envelope = Envelope {
        topic: Bytes::copy_from_slice(topic),
        timestamp_ns: u64::from_le_bytes(*time),
        message: Bytes::copy_from_slice(message),
    };
    envelope.digest();
    if let Ok(name) = admit(&envelope) {
        let reading = read(name, envelope.timestamp_ns, &envelope.message, &VERIFIER);
        if let Err(reason) = reading.payload {
            assert!(reason.to_string().chars().count() <= 300);
        }
    }
});
