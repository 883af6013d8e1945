//! What can be decoded from one envelope without keys.

use bytes::Bytes;

use crate::{Generation, PayloadKind, Topic, Verifier};

mod admit;
mod contact;
mod invite;
mod keys;
mod message_v1;
mod message_v2;
mod mls;
mod private_store;
mod undecodable;
mod welcome;

pub use admit::{MAX_MESSAGE_BYTES, MAX_TOPIC_BYTES, Refused, admit, admit_numbered};
pub use contact::{BundleForm, ContactBundle};
pub use invite::Invite;
pub use keys::{KeyBundle, PublicKey};
pub use message_v1::MessageV1;
pub use message_v2::MessageV2;
pub use mls::GroupMessage;
pub use undecodable::Undecodable;
pub use welcome::{Welcome, WrapperAlgorithm};

/// The decoded content of an envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Its parsed topic.
    pub topic: Topic,
    /// Of the payload if that knows, else the best guess from the name.
    pub generation: Generation,
    /// Its decoded payload.
    pub payload: Result<Payload, Undecodable>,
}

/// What an envelope holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// How to write to a wallet.
    ContactBundle(Box<ContactBundle>),
    /// The opening of a conversation.
    Invite(Box<Invite>),
    /// A first-generation message.
    MessageV1(Box<MessageV1>),
    /// A second-generation message.
    MessageV2(MessageV2),
    /// Sealed private keys. Their bytes are deliberately not kept.
    PrivateStore,
    /// Sealed preferences.
    Preferences,
    /// A message of an MLS group.
    GroupMessage(GroupMessage),
    /// An invitation of an installation to an MLS group.
    Welcome(Welcome),
}

impl Reading {
    /// The kind of the payload.
    pub fn kind(&self) -> PayloadKind {
        match &self.payload {
            Ok(Payload::ContactBundle(_)) => PayloadKind::ContactBundle,
            Ok(Payload::Invite(_)) => PayloadKind::Invite,
            Ok(Payload::MessageV1(_)) => PayloadKind::MessageV1,
            Ok(Payload::MessageV2(_)) => PayloadKind::MessageV2,
            Ok(Payload::PrivateStore) => PayloadKind::PrivateStore,
            Ok(Payload::Preferences) => PayloadKind::Preferences,
            Ok(Payload::GroupMessage(_)) => PayloadKind::GroupMessage,
            Ok(Payload::Welcome(_)) => PayloadKind::Welcome,
            Err(_) => PayloadKind::Undecodable,
        }
    }
}

/// Decodes an envelope and checks its signatures. Returns a result for any bytes and never panics. The result holds
/// slices of `message` and a few bytes for each key.
pub fn read(topic_name: &str, timestamp_ns: u64, message: &Bytes, verifier: &Verifier) -> Reading {
    let topic = Topic::parse(topic_name);
    let payload = decode(&topic, topic_name, timestamp_ns, message, verifier);
    let generation = match &payload {
        Ok(Payload::ContactBundle(contact)) => contact.generation,
        _ => topic.generation(topic_name),
    };
    Reading { topic, generation, payload }
}

fn decode(
    topic: &Topic,
    name: &str,
    timestamp_ns: u64,
    message: &Bytes,
    verifier: &Verifier,
) -> Result<Payload, Undecodable> {
    Ok(match topic {
        Topic::Contact(owner) => {
            Payload::ContactBundle(Box::new(contact::decode(*owner, message, verifier)?))
        }
        Topic::Invite(owner) | Topic::GroupInvite(owner) => {
            let invite = invite::decode(*owner, timestamp_ns, message, verifier)?;
            Payload::Invite(Box::new(invite))
        }
        Topic::Intro(owner) => {
            let place = message_v1::Place::Intro(*owner);
            Payload::MessageV1(Box::new(message_v1::decode(place, message, verifier)?))
        }
        Topic::DirectMessage { a, b, .. } => {
            let place = message_v1::Place::Between(*a, *b);
            Payload::MessageV1(Box::new(message_v1::decode(place, message, verifier)?))
        }
        Topic::Conversation { id, ephemeral } => {
            Payload::MessageV2(message_v2::decode(name, id, *ephemeral, message)?)
        }
        Topic::PrivateStore(_) => {
            private_store::check(message)?;
            Payload::PrivateStore
        }
        Topic::Preferences(_) => Payload::Preferences,
        Topic::Group(id) => Payload::GroupMessage(mls::group_message(id, message)?),
        Topic::Welcome(key) => Payload::Welcome(welcome::decode(key, message)?),
        Topic::Unknown => return Err(Undecodable::because("topic of no known kind")),
    })
}
