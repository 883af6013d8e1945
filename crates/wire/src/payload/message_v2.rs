//! Second-generation messages: the header holds the time; the sender is sealed.

use bytes::Bytes;

use super::Undecodable;
use super::keys::{decoded, needed};
use crate::proto::message_contents as proto;
use crate::topic::name;

/// What a conversation's topic holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageV2 {
    /// The header's time.
    pub created_ns: u64,
    /// Lets a push server recognise the sender's own messages. Clients before 2024 did not send it.
    pub has_sender_hmac: bool,
    /// Whether the sender requests a notification; None if it does not state it.
    pub should_push: Option<bool>,
}

pub(super) fn decode(
    topic: &str,
    id: &str,
    ephemeral: bool,
    message: &Bytes,
) -> Result<MessageV2, Undecodable> {
    use proto::message::Version;
    let message: proto::Message = decoded("message", message)?;
    let v2 = match needed("version", message.version)? {
        Version::V2(v2) => v2,
        Version::V1(_) => {
            return Err(Undecodable::because(
                "a first-generation message on a topic of the second",
            ));
        }
    };
    needed("ciphertext", v2.ciphertext.and_then(|ciphertext| ciphertext.union))?;
    let header: proto::MessageHeaderV2 = decoded("header", &v2.header_bytes)?;
    // On an ephemeral topic the header names the lasting one.
    let fits =
        if ephemeral { header.topic == name::conversation(id) } else { header.topic == topic };
    if !fits {
        return Err(Undecodable::because("the header names another topic"));
    }
    Ok(MessageV2 {
        created_ns: header.created_ns,
        has_sender_hmac: v2.sender_hmac.is_some_and(|hmac| !hmac.is_empty()),
        should_push: v2.should_push,
    })
}
