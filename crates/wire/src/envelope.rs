//! An envelope as nodes give it.

use std::fmt;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{Digest, proto};

/// One envelope as a node sent it.
#[derive(Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The topic's name. Bytes, not text: anyone can publish anything, and a name that is not UTF-8
    /// must not fail the decode of its neighbours.
    pub topic: Bytes,
    /// Set by the sender and not checked.
    pub timestamp_ns: u64,
    /// The payload; [`crate::read`] decodes it.
    pub message: Bytes,
}

impl Envelope {
    /// SHA-256 over topic and message: what the network knows an envelope by. The time is not in it.
    pub fn digest(&self) -> Digest {
        let hash = Sha256::new().chain_update(&self.topic).chain_update(&self.message).finalize();
        Digest::from(<[u8; 32]>::from(hash))
    }

    /// SHA-256 over the message alone: equal in all topics that hold a copy.
    pub fn payload_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.message).into()
    }
}

impl fmt::Debug for Envelope {
    /// Never prints message bytes: envelopes end up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("topic", &self.topic)
            .field("timestamp_ns", &self.timestamp_ns)
            .field("message_bytes", &self.message.len())
            .finish()
    }
}

impl From<proto::message_api::Envelope> for Envelope {
    fn from(envelope: proto::message_api::Envelope) -> Self {
        Self {
            topic: envelope.content_topic,
            timestamp_ns: envelope.timestamp_ns,
            message: envelope.message,
        }
    }
}

impl From<Envelope> for proto::message_api::Envelope {
    fn from(envelope: Envelope) -> Self {
        Self {
            content_topic: envelope.topic,
            timestamp_ns: envelope.timestamp_ns,
            message: envelope.message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_message_bytes() {
        let envelope = Envelope {
            topic: Bytes::from_static(b"/xmtp/0/m-1/proto"),
            timestamp_ns: 7,
            message: Bytes::from_static(b"secret"),
        };
        let shown = format!("{envelope:?}");
        assert!(shown.contains("message_bytes: 6"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn goes_to_protobuf_and_back() {
        let envelope = Envelope {
            topic: Bytes::from_static(b"\xff\xfe"),
            timestamp_ns: u64::MAX,
            message: Bytes::from_static(b"x"),
        };
        let there = proto::message_api::Envelope::from(envelope.clone());
        assert_eq!(Envelope::from(there), envelope);
    }
}
