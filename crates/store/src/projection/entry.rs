//! An envelope of the log with its decoded content, decoded once for all projections.

use bytes::Bytes;
use uuid::Uuid;
use wire::{Address, Generation, Payload, PayloadKind, Reading, Verifier, topic};

use crate::log::{self, Content, Logged, Tombstone};

/// An envelope of the log with its decoded content.
#[derive(Debug)]
pub struct Entry {
    /// As the log holds it, without its message: a page of the projector holds tens of thousands of entries.
    pub logged: Logged,
    /// The text form of its topic.
    pub topic_name: String,
    /// Key of its topic.
    pub topic_key: Uuid,
    /// Its decoded content. Of an erased message only the topic is known.
    pub reading: Reading,
}

impl Entry {
    /// Decodes and verifies one envelope.
    #[must_use]
    pub fn read(mut logged: Logged, verifier: &Verifier) -> Entry {
        let name = topic::to_text(&logged.topic).into_owned();
        let message = match &mut logged.content {
            Content::Message(message) => std::mem::take(message),
            Content::Erased(_) => Bytes::new(),
        };
        let reading = wire::read(&name, logged.timestamp_ns, &message, verifier);
        Entry { topic_key: log::topic_key(&logged.topic), topic_name: name, reading, logged }
    }

    /// Bytes that this entry keeps in memory beside itself. Keys and ids in a payload are slices of the message, which stays
    /// in memory with them.
    #[must_use]
    pub fn held(&self) -> i64 {
        let message = match self.payload() {
            Some(Payload::ContactBundle(_) | Payload::Welcome(_) | Payload::GroupMessage(_)) => {
                i64::from(self.logged.size)
            }
            Some(
                Payload::Invite(_)
                | Payload::MessageV1(_)
                | Payload::MessageV2(_)
                | Payload::PrivateStore
                | Payload::Preferences,
            )
            | None => 0,
        };
        let names = self.logged.topic.len() + self.topic_name.len();
        message + i64::try_from(names).unwrap_or(i64::MAX)
    }

    /// What is kept of the message, when it was erased.
    #[must_use]
    pub fn tombstone(&self) -> Option<&Tombstone> {
        match &self.logged.content {
            Content::Message(_) => None,
            Content::Erased(tombstone) => Some(tombstone),
        }
    }

    /// The decoded message; None when it cannot be decoded or was erased.
    #[must_use]
    pub fn payload(&self) -> Option<&Payload> {
        match self.tombstone() {
            None => self.reading.payload.as_ref().ok(),
            Some(_) => None,
        }
    }

    /// What the message is, or was.
    #[must_use]
    pub fn kind(&self) -> PayloadKind {
        self.tombstone().map_or_else(|| self.reading.kind(), |tombstone| tombstone.kind)
    }

    /// Of which generation it is.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.tombstone().map_or(self.reading.generation, |tombstone| tombstone.generation)
    }

    /// The time in the header of a message of a conversation.
    #[must_use]
    pub fn sent_ns(&self) -> Option<u64> {
        match (self.tombstone(), self.payload()) {
            (Some(tombstone), _) => tombstone.sent_ns,
            (None, Some(Payload::MessageV1(message))) => Some(message.sent_ns),
            (None, Some(Payload::MessageV2(message))) => Some(message.created_ns),
            _ => None,
        }
    }

    /// The wallets that the message names.
    #[must_use]
    pub fn accounts(&self) -> Vec<Address> {
        match (self.tombstone(), self.payload()) {
            (Some(tombstone), _) => tombstone.accounts.clone(),
            (None, Some(Payload::ContactBundle(bundle))) => bundle.signer.into_iter().collect(),
            (None, Some(Payload::Invite(invite))) => {
                vec![invite.sender, invite.recipient]
            }
            (None, Some(Payload::MessageV1(message))) => {
                vec![message.sender, message.recipient]
            }
            _ => Vec::new(),
        }
    }

    /// What is kept of this message when it is erased.
    #[must_use]
    pub fn to_tombstone(&self) -> Tombstone {
        Tombstone {
            kind: self.kind(),
            generation: self.generation(),
            sent_ns: self.sent_ns(),
            accounts: self.accounts(),
        }
    }
}
