//! Ids of nodes: what the thing is and the name that it has on the network, so that they outlive every rebuild.

use std::borrow::Cow;

use async_graphql::ID;
use uuid::Uuid;
use wire::{Address, Digest};

use crate::opaque;

/// What an id names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NodeId {
    Topic(String),
    Envelope(Digest, u64),
    Account(Address),
    ContactBundle(Digest, u64),
    Invite(Uuid),
    Conversation(String),
    /// By the time in its header and the key of its payload.
    Message(u64, Uuid),
    Welcome(Digest, u64),
    Installation([u8; 32]),
}

impl NodeId {
    /// Writes it into an answer.
    pub(crate) fn spell(&self, to: &mut Vec<u8>) {
        let (kind, key): (_, Cow<'_, str>) = match self {
            NodeId::Topic(name) => ("Topic:", name.into()),
            NodeId::Envelope(digest, ns) => ("Envelope:", format!("{digest}:{ns}").into()),
            NodeId::Account(address) => ("Account:", address.lower().into()),
            NodeId::ContactBundle(digest, ns) => {
                ("ContactBundle:", format!("{digest}:{ns}").into())
            }
            NodeId::Invite(id) => ("Invite:", hex::encode(id).into()),
            NodeId::Conversation(name) => ("Conversation:", name.into()),
            NodeId::Message(ns, id) => ("Message:", format!("{}:{ns}", hex::encode(id)).into()),
            NodeId::Welcome(digest, ns) => ("Welcome:", format!("{digest}:{ns}").into()),
            NodeId::Installation(key) => ("Installation:", hex::encode(key).into()),
        };
        opaque::spell([kind, &*key].concat().as_bytes(), to);
    }

    /// `None` for what is no id of ours.
    pub(crate) fn decode(id: &ID) -> Option<NodeId> {
        let text = String::from_utf8(opaque::read(&id.0)?).ok()?;
        let (kind, key) = text.split_once(':')?;
        let published = || {
            let (digest, ns) = key.split_once(':')?;
            Some((digest.parse().ok()?, ns.parse().ok()?))
        };
        match kind {
            "Topic" => Some(NodeId::Topic(key.to_owned())),
            "Envelope" => published().map(|(digest, ns)| NodeId::Envelope(digest, ns)),
            "Account" => key.parse().ok().map(NodeId::Account),
            "ContactBundle" => published().map(|(digest, ns)| NodeId::ContactBundle(digest, ns)),
            "Invite" => key.parse().ok().map(NodeId::Invite),
            "Conversation" => Some(NodeId::Conversation(key.to_owned())),
            "Message" => {
                let (id, ns) = key.split_once(':')?;
                Some(NodeId::Message(ns.parse().ok()?, id.parse().ok()?))
            }
            "Welcome" => published().map(|(digest, ns)| NodeId::Welcome(digest, ns)),
            "Installation" => hex::decode_to_array(key).ok().map(NodeId::Installation),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lead_back_to_what_they_name() {
        for id in [
            NodeId::Topic("/xmtp/0/m-a:b/proto".into()),
            NodeId::Envelope(Digest::from([7; 32]), u64::MAX),
            NodeId::Account(Address::from([0xAB; 20])),
            NodeId::ContactBundle(Digest::from([8; 32]), 0),
            NodeId::Invite(Uuid::from_u128(9)),
            NodeId::Conversation("/xmtp/0/m-ü/proto".into()),
            NodeId::Message(u64::MAX, Uuid::from_u128(u128::MAX)),
            NodeId::Welcome(Digest::from([6; 32]), 1),
            NodeId::Installation([5; 32]),
        ] {
            let mut text = Vec::new();
            id.spell(&mut text);
            assert_eq!(NodeId::decode(&ID(String::from_utf8(text).unwrap())), Some(id));
        }
    }

    #[test]
    fn what_is_no_id_names_nothing() {
        for text in ["", "!", "VG9waWM", "RW52ZWxvcGU6YWI", "Tm9ib2R5OjE"] {
            assert_eq!(NodeId::decode(&ID(text.into())), None, "{text}");
        }
    }
}
