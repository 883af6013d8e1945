use std::collections::HashMap;

use async_graphql::ID;
use store::{
    log::topic_key,
    read::{ContactBundle, Conversation, Envelope, Invite, Message, Topic},
};
use wire::Digest;

use super::account::Account;
use crate::{error::Trouble, exec::one_of, node_id::NodeId, scope::Scope};

/// A thing with an id.
#[derive(Clone)]
pub(crate) enum Node {
    Topic(Topic),
    Envelope(Envelope),
    Account(Account),
    ContactBundle(ContactBundle),
    Invite(Invite),
    Conversation(Conversation),
    Message(Message),
}

one_of!(interface Node, "Node", "A thing with an id, by which it can be asked for again.", {
    Topic,
    Envelope,
    Account,
    ContactBundle,
    Invite,
    Conversation,
    Message,
});

/// Statements that finding things takes: one a kind, and one more for bundles, which are found by their envelopes.
pub(super) const STATEMENTS: usize = 7;

/// The envelope among copies that has this time.
fn published(
    copies: &HashMap<Digest, Vec<Envelope>>,
    digest: Digest,
    ns: u64,
) -> Option<&Envelope> {
    copies.get(&digest)?.iter().find(|copy| copy.timestamp_ns == ns)
}

/// What ids name, where there is such a thing; in their order.
pub(super) async fn find(scope: &Scope, ids: &[ID]) -> Result<Vec<Option<Node>>, Trouble> {
    let ids: Vec<Option<NodeId>> = ids.iter().map(NodeId::decode).collect();
    let known = || ids.iter().flatten();
    let (topics, conversations, accounts, invites, messages, copies) = futures::try_join!(
        scope.topics(known().filter_map(|id| match id {
            NodeId::Topic(name) => Some(topic_key(name)),
            _ => None,
        })),
        scope.conversations(known().filter_map(|id| match id {
            NodeId::Conversation(name) => Some(topic_key(name)),
            _ => None,
        })),
        scope.accounts(known().filter_map(|id| match id {
            NodeId::Account(address) => Some(*address),
            _ => None,
        })),
        scope.invites(known().filter_map(|id| match id {
            NodeId::Invite(key) => Some(*key),
            _ => None,
        })),
        scope.messages(known().filter_map(|id| match id {
            NodeId::Message(key) => Some(*key),
            _ => None,
        })),
        scope.envelopes_by(known().filter_map(|id| match id {
            NodeId::Envelope(digest, _) | NodeId::ContactBundle(digest, _) => Some(*digest),
            _ => None,
        })),
    )?;
    let bundles = scope
        .bundles_at(known().filter_map(|id| match id {
            NodeId::ContactBundle(digest, ns) => Some(published(&copies, *digest, *ns)?.position),
            _ => None,
        }))
        .await?;
    let node = |id: &NodeId| match id {
        NodeId::Topic(name) => topics.get(&topic_key(name)).cloned().map(Node::Topic),
        NodeId::Conversation(name) => {
            conversations.get(&topic_key(name)).cloned().map(Node::Conversation)
        }
        NodeId::Account(address) => {
            accounts.get(address).copied().map(|row| Node::Account(row.into()))
        }
        NodeId::Invite(key) => invites.get(key).cloned().map(Node::Invite),
        NodeId::Message(key) => messages.get(key).cloned().map(Node::Message),
        NodeId::Envelope(digest, ns) => {
            published(&copies, *digest, *ns).cloned().map(Node::Envelope)
        }
        NodeId::ContactBundle(digest, ns) => {
            let envelope = published(&copies, *digest, *ns)?;
            bundles.get(&envelope.position).cloned().map(Node::ContactBundle)
        }
    };
    Ok(ids.iter().map(|id| id.as_ref().and_then(node)).collect())
}
