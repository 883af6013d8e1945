//! The payloads of everyday traffic.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use prost::Message as _;
use wire::proto::message_contents::{
    Message, MessageHeaderV1, MessageHeaderV2, MessageV1, MessageV2, PrivatePreferencesPayload,
    SealedInvitation, SealedInvitationHeaderV1, SealedInvitationV1, message,
    private_preferences_payload, sealed_invitation,
};

use super::dice::Dice;
use super::wallet::Wallet;

/// What surrounds the sealed bytes of a second-generation message, without the topic's name.
const MESSAGE_V2_FRAME: usize = 130;
/// What the shortest text comes to: its sender's bundle and signature are sealed with it.
const SHORTEST_V2: usize = 380;

/// An id in one of the two forms that clients in browsers used: random, or derived.
pub(super) fn conversation_id(dice: &mut Dice) -> String {
    let id: [u8; 32] = dice.array();
    if dice.percent(30) { STANDARD_NO_PAD.encode(id).replace('/', "-") } else { hex::encode(id) }
}

pub(super) fn invite(dice: &mut Dice, from: &Wallet, to: &Wallet, created_ns: u64) -> Bytes {
    let header = SealedInvitationHeaderV1 {
        sender: Some(from.v2.clone()),
        recipient: Some(to.v2.clone()),
        created_ns,
    };
    // The topic and its key; some have a context or a proof of consent besides.
    let len = 118 + if dice.percent(30) { dice.length(60, 120) } else { 0 };
    let sealed = SealedInvitationV1 {
        header_bytes: header.encode_to_vec().into(),
        ciphertext: Some(dice.sealed(len)),
    };
    let version = Some(sealed_invitation::Version::V1(sealed));
    SealedInvitation { version }.encode_to_vec().into()
}

pub(super) fn message_v1(dice: &mut Dice, from: &Wallet, to: &Wallet, sent_ms: u64) -> Bytes {
    let header = MessageHeaderV1 {
        sender: Some(from.v1.clone()),
        recipient: Some(to.v1.clone()),
        timestamp: sent_ms,
    };
    let len = dice.length(55, 115);
    let message = MessageV1 {
        header_bytes: header.encode_to_vec().into(),
        ciphertext: Some(dice.sealed(len)),
    };
    Message { version: Some(message::Version::V1(message)) }.encode_to_vec().into()
}

pub(super) fn message_v2(dice: &mut Dice, topic: &Bytes, created_ns: u64, mean: usize) -> Bytes {
    // Names that the generator made are text; the clone is of the name alone.
    let topic = String::from_utf8_lossy(topic).into_owned();
    let mean = mean.saturating_sub(MESSAGE_V2_FRAME + topic.len());
    let len = dice.length(SHORTEST_V2.min(mean / 2), mean);
    let header = MessageHeaderV2 { created_ns, topic };
    let message = MessageV2 {
        header_bytes: header.encode_to_vec().into(),
        ciphertext: Some(dice.sealed(len)),
        sender_hmac: Some(dice.bytes(32)),
        // Reactions and read receipts ask for no notification.
        should_push: Some(dice.percent(80)),
    };
    Message { version: Some(message::Version::V2(message)) }.encode_to_vec().into()
}

pub(super) fn preferences(dice: &mut Dice) -> Bytes {
    let len = dice.length(44, 60);
    let version = Some(private_preferences_payload::Version::V1(dice.sealed(len)));
    PrivatePreferencesPayload { version }.encode_to_vec().into()
}
