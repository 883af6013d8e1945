use async_graphql::{Context, ID, Interface, Result};
use store::log::topic_key;

use super::{
    account::Account, contact_bundle::ContactBundle, conversation::Conversation,
    envelope::Envelope, invite::Invite, message::Message, topic::Topic,
};
use crate::{
    node_id::NodeId,
    scope::{
        AccountBy, BundleAt, ConversationBy, EnvelopesBy, InviteBy, MessageBy, TopicBy, asked,
    },
};

/// A thing with an id, by which it can be asked for again.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Stable across rebuilds of the index."))]
pub(crate) enum Node {
    Topic(Topic),
    Envelope(Envelope),
    Account(Account),
    ContactBundle(ContactBundle),
    Invite(Invite),
    Conversation(Conversation),
    Message(Message),
}

impl Node {
    /// What an id names, if there is such a thing.
    pub(crate) async fn find(ctx: &Context<'_>, id: &ID) -> Result<Option<Node>> {
        let Some(id) = NodeId::decode(id) else { return Ok(None) };
        let asked = asked(ctx)?;
        Ok(match id {
            NodeId::Topic(name) => {
                asked.load(TopicBy(topic_key(&name))).await?.map(|row| Node::Topic(row.into()))
            }
            NodeId::Conversation(name) => asked
                .load(ConversationBy(topic_key(&name)))
                .await?
                .map(|row| Node::Conversation(row.into())),
            NodeId::Account(address) => {
                asked.load(AccountBy(address)).await?.map(|row| Node::Account(row.into()))
            }
            NodeId::Invite(key) => {
                asked.load(InviteBy(key)).await?.map(|row| Node::Invite(row.into()))
            }
            NodeId::Message(key) => {
                asked.load(MessageBy(key)).await?.map(|row| Node::Message(row.into()))
            }
            NodeId::Envelope(digest, ns) => asked
                .load(EnvelopesBy(digest))
                .await?
                .and_then(|copies| copies.into_iter().find(|copy| copy.timestamp_ns == ns))
                .map(|row| Node::Envelope(row.into())),
            NodeId::ContactBundle(digest, ns) => {
                let copies = asked.load(EnvelopesBy(digest)).await?.unwrap_or_default();
                match copies.into_iter().find(|copy| copy.timestamp_ns == ns) {
                    Some(envelope) => asked
                        .load(BundleAt(envelope.position))
                        .await?
                        .map(|row| Node::ContactBundle(row.into())),
                    None => None,
                }
            }
        })
    }
}
