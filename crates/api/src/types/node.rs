use std::collections::HashMap;

use async_graphql::ID;
use store::read::{
    ContactBundle, Conversation, Envelope, Invite, Message, PageRequest, TimeOrder, Topic, Welcome,
};
use wire::Digest;

use super::{account::Account, installation::Installation, topic::key_of};
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
    Welcome(Welcome),
    Installation(Installation),
}

one_of!(interface Node, "Node", "A thing with an id, by which it can be asked for again.", {
    Topic,
    Envelope,
    Account,
    ContactBundle,
    Invite,
    Conversation,
    Message,
    Welcome,
    Installation,
});

/// Statements that finding things takes: one a kind, but that bundles and welcomes are found by their envelopes.
pub(super) const STATEMENTS: usize = 9;

/// The envelope among copies that has this time.
fn published(
    copies: &HashMap<Digest, Vec<Envelope>>,
    digest: Digest,
    ns: u64,
) -> Option<&Envelope> {
    copies.get(&digest)?.iter().find(|copy| copy.timestamp_ns == ns)
}

/// Those of these installations that were ever invited: nothing else is known of one.
async fn invited(
    scope: &Scope,
    keys: impl Iterator<Item = [u8; 32]>,
) -> Result<Vec<[u8; 32]>, Trouble> {
    let keys: Vec<[u8; 32]> = keys.collect();
    if keys.is_empty() {
        return Ok(keys);
    }
    let snapshot = scope.snapshot().await?;
    let one = PageRequest::first(TimeOrder, true, 1);
    let pages = scope.told(snapshot.welcomes_of(&keys, &Default::default(), &one).await)?;
    let known = keys.into_iter().zip(pages).filter(|(_, page)| !page.rows.is_empty());
    Ok(known.map(|(key, _)| key).collect())
}

/// What ids name, where there is such a thing; in their order.
pub(super) async fn find(scope: &Scope, ids: &[ID]) -> Result<Vec<Option<Node>>, Trouble> {
    let ids: Vec<Option<NodeId>> = ids.iter().map(NodeId::decode).collect();
    let known = || ids.iter().flatten();
    let (topics, conversations, accounts, invites, messages, copies) = futures::try_join!(
        scope.topics(known().filter_map(|id| match id {
            NodeId::Topic(name) => Some(key_of(name)),
            _ => None,
        })),
        scope.conversations(known().filter_map(|id| match id {
            NodeId::Conversation(name) => Some(key_of(name)),
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
            NodeId::Message(ns, key) => Some((*ns, *key)),
            _ => None,
        })),
        scope.envelopes_by(known().filter_map(|id| match id {
            NodeId::Envelope(digest, _)
            | NodeId::ContactBundle(digest, _)
            | NodeId::Welcome(digest, _) => Some(*digest),
            _ => None,
        })),
    )?;
    let (bundles, welcomes, installations) = futures::try_join!(
        scope.bundles_at(known().filter_map(|id| match id {
            NodeId::ContactBundle(digest, ns) => Some(published(&copies, *digest, *ns)?.position),
            _ => None,
        })),
        scope.welcomes_at(known().filter_map(|id| match id {
            NodeId::Welcome(digest, ns) => Some(published(&copies, *digest, *ns)?.position),
            _ => None,
        })),
        invited(
            scope,
            known().filter_map(|id| match id {
                NodeId::Installation(key) => Some(*key),
                _ => None,
            }),
        ),
    )?;
    let node = |id: &NodeId| match id {
        NodeId::Topic(name) => topics.get(&key_of(name)).cloned().map(Node::Topic),
        NodeId::Conversation(name) => {
            conversations.get(&key_of(name)).cloned().map(Node::Conversation)
        }
        NodeId::Account(address) => {
            accounts.get(address).copied().map(|row| Node::Account(row.into()))
        }
        NodeId::Invite(key) => invites.get(key).cloned().map(Node::Invite),
        NodeId::Message(ns, key) => messages.get(&(*ns, *key)).cloned().map(Node::Message),
        NodeId::Envelope(digest, ns) => {
            published(&copies, *digest, *ns).cloned().map(Node::Envelope)
        }
        NodeId::ContactBundle(digest, ns) => {
            let envelope = published(&copies, *digest, *ns)?;
            bundles.get(&envelope.position).cloned().map(Node::ContactBundle)
        }
        NodeId::Welcome(digest, ns) => {
            let envelope = published(&copies, *digest, *ns)?;
            welcomes.get(&envelope.position).cloned().map(Node::Welcome)
        }
        NodeId::Installation(key) => {
            installations.contains(key).then_some(Node::Installation(Installation { key: *key }))
        }
    };
    Ok(ids.iter().map(|id| id.as_ref().and_then(node)).collect())
}
