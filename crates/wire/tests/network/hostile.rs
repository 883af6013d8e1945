//! Odd and hostile envelopes: what we make of each, held against what a careful reader wants.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;
use wire::{Envelope, Payload, Verification, admit, json, proto, read};

use crate::material::{VERIFIER, rows};

/// What we make of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// Understood, and every signature in it is good.
    Usable,
    /// Understood, but its signatures do not carry it.
    Unproven(Verification),
    /// Kept, not understood.
    Undecodable(String),
    /// Not kept.
    Refused(String),
}

/// Where we know better than the table, and why.
const DISAGREEMENTS: &[(&str, &str)] = &[
    (
        "contact-v2-identity-sig-in-ecdsaCompact",
        "only the JavaScript client refuses it; the others read either arm, and some early mobile \
         bundles are so",
    ),
    (
        "contact-topic-uppercase",
        "addresses on topics count in any letter case: old clients wrote what they were given",
    ),
    (
        "invite-created-0",
        "header and envelope agree, which is all that clients ask; times are the sender's claim",
    ),
    (
        "invite-created-max",
        "header and envelope agree; JavaScript refuses it only for want of 64-bit numbers",
    ),
    (
        "invite-sender-sig-tampered",
        "any well-formed signature recovers some wallet, here a wallet that nobody has, and there \
         is nothing to compare it with: the topic is the recipient's. Clients take it, too",
    ),
    ("intro-foreign-topic", "the topic is not foreign: it is the recipient's own"),
    (
        "m-v1-and-v2",
        "the last arm of a oneof counts, and that is the second-generation one, right for the topic",
    ),
];

fn outcome(envelope: &Envelope) -> Outcome {
    let name = match admit(envelope) {
        Ok(name) => name,
        Err(refused) => return Outcome::Refused(refused.to_string()),
    };
    let verification = match read(name, envelope.timestamp_ns, &envelope.message, &VERIFIER).payload
    {
        Err(reason) => return Outcome::Undecodable(reason.to_string()),
        Ok(Payload::ContactBundle(contact)) => contact.verification,
        Ok(Payload::Invite(invite)) => invite.verification,
        Ok(Payload::MessageV1(message)) => message.verification,
        Ok(_) => Verification::Verified,
    };
    match verification {
        Verification::Verified => Outcome::Usable,
        other => Outcome::Unproven(other),
    }
}

fn envelope(row: &Value) -> Result<Envelope, Outcome> {
    if let Some(line) = row["jsonLine"].as_str() {
        return json::from_line(line).map_err(|error| Outcome::Refused(error.to_string()));
    }
    let bytes = STANDARD.decode(row["envelopeProto"].as_str().unwrap()).unwrap();
    let envelope = proto::message_api::Envelope::decode(Bytes::from(bytes)).unwrap();
    Ok(envelope.into())
}

fn label(row: &Value) -> &str {
    row["label"].as_str().unwrap()
}

#[test]
fn each_is_taken_as_wanted() {
    let rows = rows("legacy-hostile.ndjson.gz");
    assert_eq!(rows.len(), 148);
    let mut wrong = Vec::new();
    for row in &rows {
        let (label, want) = (label(row), row["want"].as_str().unwrap());
        let outcome = envelope(row).map_or_else(|refused| refused, |envelope| outcome(&envelope));
        let usable = outcome == Outcome::Usable;
        let wanted = match want {
            // Nobody without keys can tell a forged header; duplicates are the log's business.
            "accept" | "flag" | "undetectable" | "duplicate" | "duplicate?" => usable,
            "reject" | "ignore-kind" => !usable,
            other => panic!("{label}: unknown wish {other}"),
        };
        let excused = DISAGREEMENTS.iter().any(|(excused, _)| *excused == label);
        if wanted == excused {
            wrong.push(format!("{label}: want {want} ({}), got {outcome:?}", row["why"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn disagreements_name_rows() {
    let rows = rows("legacy-hostile.ndjson.gz");
    for (excused, reason) in DISAGREEMENTS {
        assert!(rows.iter().any(|row| label(row) == *excused), "{excused} ({reason})");
    }
}

/// The verdict, not only that there is one.
#[test]
fn verdicts_are_the_right_ones() {
    let rows = rows("legacy-hostile.ndjson.gz");
    let of = |wanted: &str| {
        let row = rows.iter().find(|row| label(row) == wanted).unwrap();
        envelope(row).map_or_else(|refused| refused, |envelope| outcome(&envelope))
    };
    for (label, verification) in [
        ("contact-v2-wallet-sig-tampered", Verification::BadSignature),
        ("contact-v2-recovery-flipped", Verification::WrongOwner),
        ("contact-v2-prekey-sig-tampered", Verification::BadSignature),
        ("contact-v2-on-foreign-topic", Verification::WrongOwner),
        ("contact-bare-on-foreign-topic", Verification::WrongOwner),
        ("contact-v2-foreign-prekey", Verification::BadSignature),
        ("contact-v2-prekey-off-curve", Verification::BadSignature),
        ("contact-v2-prekey-p256", Verification::BadSignature),
        ("contact-v2-prekey-zero", Verification::BadSignature),
        // 27 is taken as 0, which leads to another wallet: this signature's bit is 1.
        ("contact-v2-recovery-27", Verification::WrongOwner),
        ("contact-v2-recovery-2", Verification::BadSignature),
        ("contact-v2-recovery-4294967295", Verification::BadSignature),
        ("contact-v2-sig-zero", Verification::BadSignature),
        ("contact-v2-unsigned-identity", Verification::Unsigned),
        ("contact-v2-no-prekey", Verification::BadSignature),
        ("contact-both-v1-v2", Verification::WrongOwner),
        ("invite-foreign-topic", Verification::WrongOwner),
        ("invite-self", Verification::WrongOwner),
        ("dm-wrong-topic", Verification::WrongOwner),
        ("dm-unsorted-topic", Verification::WrongOwner),
    ] {
        assert_eq!(of(label), Outcome::Unproven(verification), "{label}");
    }
    for (label, part) in [
        ("contact-v2-prekey-compressed", "33 bytes, not 65"),
        ("contact-v2-sig-63-bytes", "63 bytes, not 64"),
        ("invite-timestamp-mismatch", "clients refuse it"),
        ("dm-no-recipient", "recipient is missing"),
        ("intro-v2-payload", "second-generation message"),
        ("m-v1-payload", "first-generation message"),
        ("m-header-topic-mismatch", "another topic"),
        ("m-no-ciphertext", "ciphertext is missing"),
        ("topic-groupInvite", "topic of no known kind"),
        ("topic-mls-not-hex", "topic of no known kind"),
        ("store-foreign-name", "topic of no known kind"),
        ("store-random", "key store"),
    ] {
        let outcome = of(label);
        let Outcome::Undecodable(reason) = &outcome else { panic!("{label}: {outcome:?}") };
        assert!(reason.contains(part), "{label}: {reason}");
    }
    for (label, part) in [
        ("topic-empty", "empty"),
        ("topic-invalid-utf8", "not UTF-8"),
        ("topic-nul", "NUL"),
        ("topic-301", "more than 300"),
        ("json-stream-error", "error of the node"),
        ("json-nulls", "missing"),
    ] {
        let outcome = of(label);
        let Outcome::Refused(reason) = &outcome else { panic!("{label}: {outcome:?}") };
        assert!(reason.contains(part), "{label}: {reason}");
    }
}

#[test]
fn an_introduction_of_strangers_is_of_the_wrong_owner() {
    let rows = rows("legacy-hostile.ndjson.gz");
    let row = rows.iter().find(|row| label(row) == "intro-foreign-topic").unwrap();
    let mut envelope = envelope(row).unwrap();
    envelope.topic = Bytes::from("/xmtp/0/intro-0xCBda335480991070466bE3323a98144c8B9849c8/proto");
    assert_eq!(outcome(&envelope), Outcome::Unproven(Verification::WrongOwner));
}
