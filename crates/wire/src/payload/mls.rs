//! What the firehose carries of the third generation, read only as far as a node's own fields go.

use bytes::Bytes;

use super::Undecodable;
use super::keys::{decoded, needed};
use crate::proto::mls_api as proto;

/// A message of an MLS group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMessage {
    /// The node's number over all groups together.
    pub id: u64,
    /// Set by the node.
    pub created_ns: u64,
    /// The same as the topic's.
    pub group_id: Bytes,
    /// Lets a push server recognise the sender's own messages.
    pub has_sender_hmac: bool,
    /// Whether the sender requests a notification.
    pub should_push: bool,
    /// Whether the group's state changes, according to the node.
    pub is_commit: bool,
    /// Size of the MLS message.
    pub data_bytes: usize,
}

pub(super) fn group_message(id: &[u8], message: &Bytes) -> Result<GroupMessage, Undecodable> {
    use proto::group_message::Version;
    let message: proto::GroupMessage = decoded("group message", message)?;
    let Version::V1(v1) = needed("version", message.version)?;
    if v1.group_id != id {
        return Err(Undecodable::because("the message names another group than its topic"));
    }
    Ok(GroupMessage {
        id: v1.id,
        created_ns: v1.created_ns,
        group_id: v1.group_id,
        has_sender_hmac: !v1.sender_hmac.is_empty(),
        should_push: v1.should_push,
        is_commit: v1.is_commit,
        data_bytes: v1.data.len(),
    })
}
