//! Real traffic of five versions of the official client, held against what the clients themselves
//! said about it.

use serde_json::Value;
use wire::{
    Address, BundleForm, Generation, Payload, PayloadKind, Reading, Verification, admit, json, read,
};

use crate::material::{VERIFIER, lines, rows};

fn address(value: &Value) -> Address {
    value.as_str().unwrap().parse().unwrap()
}

/// Every field that the truth names.
fn check(reading: &Reading, row: &Value, payload_hash: &str) {
    let kind = match (row["kind"].as_str().unwrap(), reading.payload.as_ref().unwrap()) {
        ("privatestore", Payload::PrivateStore) => PayloadKind::PrivateStore,
        ("userpreferences", Payload::Preferences) => PayloadKind::Preferences,
        ("contact", Payload::ContactBundle(contact)) => {
            let (form, generation) = match row["form"].as_str().unwrap() {
                "bare" => (BundleForm::Bare, Generation::V1),
                "v1" => (BundleForm::V1, Generation::V1),
                "v2" => (BundleForm::V2, Generation::V2),
                other => panic!("{other}"),
            };
            assert_eq!((contact.form, contact.generation), (form, generation));
            assert_eq!(contact.signer, Some(address(&row["wallet"])));
            assert_eq!(contact.verification, Verification::Verified);
            let keys = &contact.keys;
            let pre_key = keys.pre_key.as_ref().unwrap();
            assert_eq!(hex::encode(&keys.identity_key.bytes), row["identityKey"]);
            assert_eq!(hex::encode(&pre_key.bytes), row["preKey"]);
            let milliseconds: u64 = row["identityKeyTimestamp"].as_str().unwrap().parse().unwrap();
            assert_eq!(keys.identity_key.created_ns, milliseconds * 1_000_000);
            assert_eq!(row["fromLegacyKeys"], true);
            PayloadKind::ContactBundle
        }
        ("v2-invite", Payload::Invite(invite)) => {
            assert_eq!(invite.sender, address(&row["sender"]));
            assert_eq!(invite.recipient, address(&row["recipient"]));
            assert_eq!(invite.created_ns.to_string(), row["createdNs"]);
            assert_eq!(invite.verification, Verification::Verified);
            let owner = reading.topic.owner().unwrap();
            assert_eq!(invite.placed_with_sender, owner == invite.sender);
            assert_eq!(invite.placed_with_recipient, owner == invite.recipient);
            assert_eq!(payload_hash, row["payloadSha256"]);
            PayloadKind::Invite
        }
        ("v1-intro" | "v1-conversation", Payload::MessageV1(message)) => {
            assert_eq!(message.sender, address(&row["sender"]));
            assert_eq!(message.recipient, address(&row["recipient"]));
            assert_eq!(message.sent_ns, row["sentMs"].as_u64().unwrap() * 1_000_000);
            assert_eq!(message.verification, Verification::Verified);
            assert_eq!(payload_hash, row["messageId"]);
            PayloadKind::MessageV1
        }
        ("v2-conversation" | "v2-conversation-ephemeral", Payload::MessageV2(message)) => {
            assert_eq!(message.created_ns.to_string(), row["createdNs"]);
            assert_eq!(message.has_sender_hmac, row["senderHmac"].as_bool().unwrap());
            assert_eq!(message.should_push, row["shouldPush"].as_bool());
            assert_eq!(payload_hash, row["messageId"]);
            PayloadKind::MessageV2
        }
        (kind, other) => panic!("{kind} read as {other:?}"),
    };
    assert_eq!(reading.kind(), kind);
    let ephemeral = row["kind"].as_str().unwrap().ends_with("-ephemeral");
    assert_eq!(reading.topic.is_ephemeral(), ephemeral);
}

#[test]
fn every_envelope_reads_as_its_client_says() {
    let envelopes = lines("legacy-a/envelopes.ndjson.gz");
    let truth = rows("legacy-a/envelopes.truth.ndjson.gz");
    assert_eq!((envelopes.len(), truth.len()), (3225, 3225));
    for (line, row) in envelopes.iter().zip(&truth) {
        let envelope = json::from_line(line).unwrap();
        let name = admit(&envelope).unwrap();
        // The line is what our own writer makes of the envelope, but for the order of members.
        let written = json::to_line(name, envelope.timestamp_ns, &envelope.message);
        let written: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written, serde_json::from_str::<Value>(line).unwrap());
        let reading = read(name, envelope.timestamp_ns, &envelope.message, &VERIFIER);
        let payload_hash = hex::encode(envelope.payload_hash());
        let outcome = std::panic::catch_unwind(|| check(&reading, row, &payload_hash));
        assert!(outcome.is_ok(), "{row}: {reading:?}");
    }
}

/// Wallets that headers name have published bundles.
#[test]
fn headers_name_wallets_with_published_bundles() {
    let envelopes = lines("legacy-a/envelopes.ndjson.gz");
    let readings: Vec<Reading> = envelopes
        .iter()
        .map(|line| {
            let envelope = json::from_line(line).unwrap();
            read(admit(&envelope).unwrap(), envelope.timestamp_ns, &envelope.message, &VERIFIER)
        })
        .collect();
    let published: std::collections::HashSet<_> = readings
        .iter()
        .filter_map(|reading| match &reading.payload {
            Ok(Payload::ContactBundle(contact)) => contact.signer,
            _ => None,
        })
        .collect();
    let mut seen = 0;
    for reading in &readings {
        if let Ok(Payload::Invite(invite)) = &reading.payload {
            for wallet in [&invite.sender, &invite.recipient] {
                assert!(published.contains(wallet));
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 2 * 152);
}
