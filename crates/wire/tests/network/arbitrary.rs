//! Any bytes: an answer, never a panic, and no more memory than the bytes had.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use wire::topic::name;
use wire::{Address, Envelope, KeyBundle, Payload, PublicKey, Reading, Topic, admit, json, read};

use crate::material::{VERIFIER, bytes, lines, rows, text};

/// Real payloads with the topics and times that they fit.
static REAL: LazyLock<Vec<Envelope>> = LazyLock::new(|| {
    let hostile = rows("legacy-hostile.ndjson.gz");
    let mut all: Vec<Envelope> = hostile
        .iter()
        .filter(|row| row["want"] == "accept" && row["jsonLine"].is_null())
        .map(|row| Envelope {
            topic: row["contentTopic"].as_str().unwrap().to_owned().into(),
            timestamp_ns: row["timestampNs"].as_str().unwrap().parse().unwrap(),
            message: STANDARD.decode(row["message"].as_str().unwrap()).unwrap().into(),
        })
        .collect();
    for (topic, message) in [
        ("v3/topic", "v3/group_message"),
        ("v3_welcome/topic", "v3_welcome/welcome_message"),
        ("topics/contact_alice", "alice/v1_public_key_bundle"),
        ("topics/intro_bob", "v1_message/payload"),
    ] {
        let topic = Bytes::from(text(topic));
        all.push(Envelope { topic, timestamp_ns: 0, message: bytes(message) });
    }
    for line in &lines("v3-a/welcomes.ndjson.gz")[..40] {
        all.push(json::from_line(line).unwrap());
    }
    // The first thing that a client does is to store its keys.
    let store = json::from_line(&lines("legacy-a/envelopes.ndjson.gz")[0]).unwrap();
    assert!(store.topic.starts_with(b"/xmtp/0/privatestore-"));
    all.push(store);
    all
});

#[derive(Clone, Debug)]
enum Edit {
    Set(u8),
    Flip(u8),
    Cut,
    Insert(Vec<u8>),
    Remove(usize),
    Repeat(usize),
    Splice(prop::sample::Index, prop::sample::Index),
}

fn edit() -> impl Strategy<Value = (prop::sample::Index, Edit)> {
    let edit = prop_oneof![
        any::<u8>().prop_map(Edit::Set),
        (0..8u8).prop_map(Edit::Flip),
        Just(Edit::Cut),
        vec(any::<u8>(), 1..12).prop_map(Edit::Insert),
        (1..40usize).prop_map(Edit::Remove),
        (1..400usize).prop_map(Edit::Repeat),
        any::<(prop::sample::Index, prop::sample::Index)>().prop_map(|(a, b)| Edit::Splice(a, b)),
    ];
    (any::<prop::sample::Index>(), edit)
}

fn edited(mut bytes: Vec<u8>, edits: &[(prop::sample::Index, Edit)]) -> Vec<u8> {
    for (place, edit) in edits {
        let at = place.index(bytes.len() + 1);
        match edit {
            Edit::Set(value) => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = *value),
            Edit::Flip(bit) => {
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit);
            }
            Edit::Cut => bytes.truncate(at),
            Edit::Insert(more) => drop(bytes.splice(at..at, more.iter().copied())),
            Edit::Remove(count) => drop(bytes.drain(at..bytes.len().min(at + count))),
            Edit::Repeat(count) => {
                let part = bytes[at..bytes.len().min(at + count)].to_vec();
                bytes.splice(at..at, part);
            }
            Edit::Splice(which, from) => {
                let other = &REAL[which.index(REAL.len())].message;
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from.index(other.len() + 1)..]);
            }
        }
    }
    bytes
}

/// Bytes that a reading keeps alive.
fn held(reading: &Reading) -> usize {
    let key = |key: &PublicKey| key.bytes.len() + key.signature.as_ref().map_or(0, Bytes::len);
    let keys = |keys: &KeyBundle| key(&keys.identity_key) + keys.pre_key.as_ref().map_or(0, key);
    let payload = match &reading.payload {
        Ok(Payload::ContactBundle(contact)) => keys(&contact.keys),
        Ok(Payload::GroupMessage(group)) => group.group_id.len(),
        Ok(Payload::Welcome(welcome)) => welcome.hpke_public_key.as_ref().map_or(0, Bytes::len),
        Ok(_) => 0,
        Err(reason) => {
            let reason = reason.to_string();
            assert!(reason.chars().count() <= 300, "{reason}");
            0
        }
    };
    let topic = match &reading.topic {
        Topic::Conversation { id, .. } | Topic::Preferences(id) => id.len(),
        Topic::Group(id) => id.len(),
        _ => 0,
    };
    payload + topic
}

fn reads(topic: &str, timestamp_ns: u64, message: Vec<u8>) -> Reading {
    let message = Bytes::from(message);
    let reading = read(topic, timestamp_ns, &message, &VERIFIER);
    assert!(held(&reading) <= topic.len() + message.len());
    // The same again, now from memory where signatures are concerned.
    assert_eq!(read(topic, timestamp_ns, &message, &VERIFIER), reading);
    reading
}

fn any_address() -> impl Strategy<Value = Address> {
    any::<[u8; 20]>().prop_map(Address::from)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn changed_payloads_are_read(
        which: prop::sample::Index, edits in vec(edit(), 0..4), keep_time: bool, time: u64,
    ) {
        let real = &REAL[which.index(REAL.len())];
        let topic = admit(real).unwrap();
        let time = if keep_time { real.timestamp_ns } else { time };
        reads(topic, time, edited(real.message.to_vec(), &edits));
    }

    #[test]
    fn payloads_are_read_anywhere(
        which: prop::sample::Index, place: prop::sample::Index, bytes in vec(any::<u8>(), 0..300),
    ) {
        let topic = admit(&REAL[place.index(REAL.len())]).unwrap();
        reads(topic, 0, REAL[which.index(REAL.len())].message.to_vec());
        reads(topic, 0, bytes);
    }

    #[test]
    fn anything_is_admitted_or_refused(topic in vec(any::<u8>(), 0..400), time: u64) {
        let envelope =
            Envelope { topic: topic.into(), timestamp_ns: time, message: Bytes::from("x") };
        if let Ok(name) = admit(&envelope) {
            reads(name, time, b"x".to_vec());
        }
    }

    #[test]
    fn any_name_parses(name in ".*", which: prop::sample::Index, edits in vec(edit(), 0..3)) {
        Topic::parse(&name).generation(&name);
        let near = edited(REAL[which.index(REAL.len())].topic.to_vec(), &edits);
        let near = String::from_utf8_lossy(&near);
        Topic::parse(&near).generation(&near);
        Topic::parse(&format!("/xmtp/0/{name}/proto"));
        Topic::parse(&format!("/xmtp/0/m-{name}/proto"));
    }

    #[test]
    fn any_line_is_read_or_refused(
        line in ".*", which: prop::sample::Index, edits in vec(edit(), 0..3),
    ) {
        drop(json::from_line(&line));
        let real = &REAL[which.index(REAL.len())];
        let written = json::to_line(admit(real).unwrap(), real.timestamp_ns, &real.message);
        assert_eq!(&json::from_line(&written).unwrap(), real);
        let near = edited(written.into_bytes(), &edits);
        drop(json::from_line(&String::from_utf8_lossy(&near)));
    }

    #[test]
    fn lines_lead_back(topic in ".*", time: u64, message in vec(any::<u8>(), 0..200)) {
        let envelope = json::from_line(&json::to_line(&topic, time, &message)).unwrap();
        prop_assert_eq!(envelope.topic, topic);
        prop_assert_eq!(envelope.timestamp_ns, time);
        prop_assert_eq!(envelope.message, message);
    }

    #[test]
    fn names_lead_back(
        a in any_address(), b in any_address(), id in "[!-~]{1,80}",
        preferences in "[A-Za-z0-9_-]{43}",
    ) {
        let spelled = [
            (name::contact(a), Topic::Contact(a)),
            (name::intro(a), Topic::Intro(a)),
            (name::invite(a), Topic::Invite(a)),
            (name::group_invite(a), Topic::GroupInvite(a)),
            (name::private_store(a), Topic::PrivateStore(a)),
        ];
        for (name, topic) in spelled {
            prop_assert_eq!(Topic::parse(&name), topic.clone());
            prop_assert_eq!(topic.owner(), Some(a));
            let lower = name.replace(&a.to_string(), &a.lower());
            prop_assert_eq!(Topic::parse(&lower), topic);
        }
        let dm = name::direct_message(a, b);
        prop_assert_eq!(&dm, &name::direct_message(b, a));
        let (first, second) = Topic::parse(&dm).participants().unwrap();
        prop_assert!(first.to_string() <= second.to_string());
        prop_assert!((first, second) == (a, b) || (first, second) == (b, a));
        let topic = Topic::Conversation { id: id.clone(), ephemeral: false };
        prop_assert_eq!(Topic::parse(&name::conversation(&id)), topic);
        let topic = Topic::Conversation { id: id.clone(), ephemeral: true };
        prop_assert_eq!(Topic::parse(&name::conversation_ephemeral(&id)), topic);
        let topic = Topic::Preferences(preferences.clone());
        prop_assert_eq!(Topic::parse(&name::preferences(&preferences)), topic);
    }
}
