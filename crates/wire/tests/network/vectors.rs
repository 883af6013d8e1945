//! Every published vector that needs no private key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message as _;
use wire::topic::name;
use wire::verify::{address_of, eip191_hash, identity_text, keccak256};
use wire::{
    Address, BundleForm, ContactBundle, Envelope, Generation, Payload, PayloadKind, Topic,
    TopicKind, Verification, proto, read,
};

use crate::material::{VECTORS, VERIFIER, bytes, text};

fn wallet(who: &str) -> Address {
    text(&format!("{who}/wallet_address")).parse().unwrap()
}

fn number(path: &str) -> u64 {
    text(path).parse().unwrap()
}

fn digest(topic: &str, message: Bytes) -> String {
    let topic = Bytes::from(topic.to_owned());
    Envelope { topic, timestamp_ns: 0, message }.digest().to_string()
}

fn contact(topic: &str, message: &Bytes) -> ContactBundle {
    match read(topic, 0, message, &VERIFIER).payload.unwrap() {
        Payload::ContactBundle(contact) => *contact,
        other => panic!("{other:?}"),
    }
}

#[test]
fn addresses_come_from_keys() {
    for who in ["alice", "bob"] {
        let key = bytes(&format!("{who}/identity_public_key"));
        let address = address_of(key.as_ref().try_into().unwrap());
        assert_eq!(address.to_string(), text(&format!("{who}/identity_own_address")));
        let shown = text(&format!("{who}/wallet_address"));
        assert_eq!(wallet(who).to_string(), shown);
        assert_eq!(wallet(who).lower(), shown.to_lowercase());
    }
}

#[test]
fn signed_texts_and_their_hashes() {
    for who in ["alice", "bob"] {
        let key = bytes(&format!("{who}/v1_identity_key_bytes"));
        let signed = identity_text(&key);
        assert_eq!(signed, text(&format!("{who}/v1_identity_text")));
        for form in ["v1", "v2"] {
            let signed = identity_text(&bytes(&format!("{who}/{form}_identity_key_bytes")));
            let hash = hex::encode(eip191_hash(signed.as_bytes()));
            assert_eq!(hash, text(&format!("{who}/{form}_identity_eip191_hash")));
        }
    }
    assert_eq!(hex::encode(keccak256(&bytes("auth/auth_data_bytes"))), text("auth/keccak256"));
}

#[test]
fn topics_are_spelled_and_read() {
    let (alice, bob) = (wallet("alice"), wallet("bob"));
    let id = text("conversation/topic");
    let id = id.trim_start_matches("/xmtp/0/m-").trim_end_matches("/proto");
    let preferences = text("alice/prefs_identifier");
    for (key, name, topic) in [
        ("contact_alice", name::contact(alice), Topic::Contact(alice)),
        ("intro_bob", name::intro(bob), Topic::Intro(bob)),
        ("invite_alice", name::invite(alice), Topic::Invite(alice)),
        (
            "dm",
            name::direct_message(alice, bob),
            Topic::DirectMessage { a: bob, b: alice, ephemeral: false },
        ),
        ("privatestore", name::private_store(alice), Topic::PrivateStore(alice)),
        ("userpreferences", name::preferences(preferences), Topic::Preferences(preferences.into())),
        (
            "m_deterministic",
            name::conversation(id),
            Topic::Conversation { id: id.into(), ephemeral: false },
        ),
    ] {
        assert_eq!(name, text(&format!("topics/{key}")));
        assert_eq!(Topic::parse(&name), topic);
    }
    let (a, b) = (text("dm_sort_trap/a"), text("dm_sort_trap/b"));
    let (a, b): (Address, Address) = (a.parse().unwrap(), b.parse().unwrap());
    assert_eq!(name::direct_message(a, b), text("dm_sort_trap/topic"));
    assert_eq!(name::direct_message(b, a), text("dm_sort_trap/topic"));
}

#[test]
fn contact_bundles_are_verified() {
    for who in ["alice", "bob"] {
        let topic = name::contact(wallet(who));
        for (key, form, version) in [
            ("v1_public_key_bundle", BundleForm::Bare, "v1"),
            ("contact_bundle_v1", BundleForm::V1, "v1"),
            // Converted from first-generation keys: the same signatures over the same bytes.
            ("contact_bundle_v2_from_legacy", BundleForm::V2, "v1"),
            ("contact_bundle_v2_native", BundleForm::V2, "v2"),
        ] {
            let contact = contact(&topic, &bytes(&format!("{who}/{key}")));
            assert_eq!(contact.form, form);
            let v2 = form == BundleForm::V2;
            assert_eq!(contact.generation, if v2 { Generation::V2 } else { Generation::V1 });
            assert_eq!(contact.verification, Verification::Verified, "{who} {key}");
            assert_eq!(contact.signer, Some(wallet(who)));
            let keys = &contact.keys;
            let pre_key = keys.pre_key.as_ref().unwrap();
            assert_eq!(keys.identity_key.bytes, bytes(&format!("{who}/identity_public_key")));
            assert_eq!(pre_key.bytes, bytes(&format!("{who}/prekey_public_key")));
            for (key, role) in [(&keys.identity_key, "identity"), (pre_key, "prekey")] {
                let mut signature = bytes(&format!("{who}/{version}_{role}_signature")).to_vec();
                let recovery = &VECTORS[who][format!("{version}_{role}_recovery")];
                signature.push(recovery.as_u64().unwrap() as u8);
                assert_eq!(key.signature.as_deref(), Some(signature.as_slice()));
            }
            if who == "alice" {
                // Milliseconds on the wire, but for the native form.
                assert_eq!(keys.identity_key.created_ns, 1_650_000_000_000_000_000);
            }
            assert_eq!(
                read(&topic, 0, &bytes(&format!("{who}/{key}")), &VERIFIER).generation,
                contact.generation
            );
        }
    }
}

#[test]
fn contact_digests() {
    let topic = text("topics/contact_alice");
    for (digest_key, payload) in [
        ("contact_v1", "contact_bundle_v1"),
        ("contact_v2_from_legacy", "contact_bundle_v2_from_legacy"),
        ("contact_bare", "v1_public_key_bundle"),
    ] {
        let found = digest(topic, bytes(&format!("alice/{payload}")));
        assert_eq!(found, text(&format!("contact_digests/{digest_key}")));
    }
}

#[test]
fn variants_of_signatures() {
    let topic = text("topics/contact_alice");
    let either = bytes("variants/contact_bundle_v2_identity_signed_as_ecdsa_compact");
    assert_eq!(contact(topic, &either).verification, Verification::Verified);

    let bad = contact(topic, &bytes("variants/contact_bundle_v2_bad_prekey"));
    assert_eq!(bad.verification, Verification::BadSignature);
    assert_eq!(bad.signer, Some(wallet("alice")));

    // High S: the same wallet, if the signature is taken with its own recovery bit.
    let mut bundle =
        proto::message_contents::PublicKeyBundle::decode(bytes("alice/v1_public_key_bundle"))
            .unwrap();
    let identity = bundle.identity_key.as_mut().unwrap();
    let high = proto::message_contents::signature::EcdsaCompact {
        bytes: bytes("variants/high_s/signature"),
        recovery: VECTORS["variants"]["high_s"]["recovery"].as_u64().unwrap() as u32,
    };
    let union = proto::message_contents::signature::Union::EcdsaCompact(high);
    identity.signature.as_mut().unwrap().union = Some(union);
    let high = contact(topic, &bundle.encode_to_vec().into());
    assert_eq!(high.signer.unwrap().to_string(), text("variants/high_s/recovered"));
    assert_eq!(high.verification, Verification::Verified);

    // One millisecond more leads to another wallet, without any error.
    let mut bundle =
        proto::message_contents::PublicKeyBundle::decode(bytes("alice/v1_public_key_bundle"))
            .unwrap();
    bundle.identity_key.as_mut().unwrap().timestamp += 1;
    let late = contact(topic, &bundle.encode_to_vec().into());
    let stranger = text("variants/identity_timestamp_plus_1ms_recovers_to");
    assert_eq!(late.signer.unwrap().to_string(), stranger);
    assert_eq!(late.verification, Verification::WrongOwner);
}

#[test]
fn the_invite_in_both_inboxes() {
    let message = bytes("invite/payload");
    let created_ns = number("invite/created_ns");
    for (who, with_sender) in [("alice", true), ("bob", false)] {
        let topic = text(&format!("topics/invite_{who}"));
        let found = digest(topic, message.clone());
        assert_eq!(found, text(&format!("invite/digest_invite_{who}")));
        let reading = read(topic, created_ns, &message, &VERIFIER);
        let Ok(Payload::Invite(invite)) = reading.payload else { panic!("{reading:?}") };
        assert_eq!((invite.sender, invite.recipient), (wallet("alice"), wallet("bob")));
        assert_eq!(invite.created_ns, created_ns);
        assert_eq!(invite.verification, Verification::Verified);
        assert_eq!(invite.placed_with_sender, with_sender);
        assert_eq!(invite.placed_with_recipient, !with_sender);
        assert_eq!(reading.generation, Generation::V2);
    }
    let reading = read(text("topics/invite_bob"), created_ns + 1, &message, &VERIFIER);
    assert!(reading.payload.unwrap_err().to_string().contains("time"));
    let envelope = Envelope { topic: Bytes::new(), timestamp_ns: 0, message };
    assert_eq!(hex::encode(envelope.payload_hash()), text("invite/payload_sha256"));
}

#[test]
fn the_first_generation_message_in_three_topics() {
    let message = bytes("v1_message/payload");
    for (topic, expected) in [
        (text("topics/intro_bob"), "digest_intro_bob"),
        (text("topics/intro_alice"), "digest_intro_alice"),
        (text("topics/dm"), "digest_dm"),
    ] {
        assert_eq!(digest(topic, message.clone()), text(&format!("v1_message/{expected}")));
        let reading = read(topic, number("v1_message/envelope_timestamp_ns"), &message, &VERIFIER);
        assert_eq!(reading.generation, Generation::V1);
        let Ok(Payload::MessageV1(v1)) = reading.payload else { panic!("{reading:?}") };
        assert_eq!((v1.sender, v1.recipient), (wallet("alice"), wallet("bob")));
        assert_eq!(v1.sent_ns, number("v1_message/envelope_timestamp_ns"));
        assert_eq!(v1.sent_ns, number("v1_message/timestamp_ms") * 1_000_000);
        assert_eq!(v1.verification, Verification::Verified);
    }
    let envelope = Envelope { topic: Bytes::new(), timestamp_ns: 0, message };
    assert_eq!(hex::encode(envelope.payload_hash()), text("v1_message/message_id"));
}

#[test]
fn the_second_generation_message() {
    let bytes_of = bytes("envelopes/v2_message_envelope");
    let envelope: Envelope = proto::message_api::Envelope::decode(bytes_of.clone()).unwrap().into();
    assert_eq!(envelope.message, bytes("v2_message/payload"));
    assert_eq!(envelope.digest().to_string(), text("v2_message/digest"));
    assert_eq!(envelope.digest().to_string(), text("cursor_example/digest_hex"));
    let base64 = STANDARD.encode(envelope.digest().as_bytes());
    assert_eq!(base64, text("cursor_example/digest_base64"));
    assert_eq!(hex::encode(envelope.payload_hash()), text("v2_message/message_id"));
    assert_eq!(proto::message_api::Envelope::from(envelope.clone()).encode_to_vec(), bytes_of);

    let topic = text("conversation/topic");
    let reading = read(topic, envelope.timestamp_ns, &envelope.message, &VERIFIER);
    let Ok(Payload::MessageV2(v2)) = &reading.payload else { panic!("{reading:?}") };
    assert_eq!(v2.created_ns, number("v2_message/created_ns"));
    assert!(v2.has_sender_hmac);
    assert_eq!(v2.should_push, Some(true));
    // The same bytes on the topic that nobody stores; the header goes on naming the other.
    let ephemeral = topic.replace("/m-", "/mE-");
    let live = read(&ephemeral, envelope.timestamp_ns, &envelope.message, &VERIFIER);
    assert_eq!(live.payload, reading.payload);
    assert!(live.topic.is_ephemeral());
}

#[test]
fn the_third_generation_as_far_as_nodes_number_it() {
    let bytes_of = bytes("envelopes/v3_group_envelope");
    let envelope: Envelope = proto::message_api::Envelope::decode(bytes_of).unwrap().into();
    assert_eq!(envelope.message, bytes("v3/group_message"));
    let reading = read(text("v3/topic"), envelope.timestamp_ns, &envelope.message, &VERIFIER);
    assert_eq!((reading.generation, reading.kind()), (Generation::V3, PayloadKind::GroupMessage));
    let Ok(Payload::GroupMessage(group)) = reading.payload else { panic!() };
    assert_eq!(group.group_id, bytes("v3/group_id"));
    assert_eq!(group.created_ns, number("v3/created_ns"));
    assert_eq!(group.data_bytes, bytes("v3/data").len());
    assert!(group.has_sender_hmac);

    let message = bytes("v3_welcome/welcome_message");
    let reading = read(text("v3_welcome/topic"), 0, &message, &VERIFIER);
    assert_eq!(reading.topic.kind(), TopicKind::Welcome);
    let Ok(Payload::Welcome(welcome)) = reading.payload else { panic!("{reading:?}") };
    assert_eq!(welcome.installation_key.as_slice(), bytes("v3_welcome/installation_key"));
    assert!(!welcome.is_pointer);
    let elsewhere = format!("/xmtp/mls/1/w-{}/proto", "00".repeat(32));
    assert!(read(&elsewhere, 0, &message, &VERIFIER).payload.is_err());
}

#[test]
fn the_token_of_publishers() {
    let token = STANDARD.decode(text("auth/bearer")).unwrap();
    let token = proto::message_api::Token::decode(token.as_slice()).unwrap();
    assert_eq!(token.auth_data_bytes, bytes("auth/auth_data_bytes"));
    let data = proto::message_api::AuthData::decode(token.auth_data_bytes).unwrap();
    assert_eq!(data.wallet_addr, text("alice/wallet_address"));
}
