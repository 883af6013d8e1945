use store::{log::topic_key, read::Topic};
use uuid::Uuid;

use super::{
    account::Account,
    lists::{self, EnvelopePages},
    words::TopicKind,
};
use crate::{
    error::Trouble,
    exec::{Call, ID, Statements, Table, object},
    node_id::NodeId,
    paging::{Connection, connection},
    scalars::{DateTime, UInt64},
};

object!(
    Topic,
    Table::new("Topic", "A name on the network that envelopes are published under.")
        .implements("Node")
        .leaf("id", ID, |topic: &Topic| NodeId::Topic(topic.name.clone()))
        .leaf(
            "name",
            "The name as the network spells it: /xmtp/0/invite-0x…/proto; binary topics as <kind>/<hex>, e.g. \
             group_messages_v1/0a1b…",
            |topic| topic.name.clone()
        )
        .leaf("kind", "What it is for.", |topic| TopicKind::from(topic.kind))
        .inline(
            "account",
            "The wallet that the topic belongs to, where the name says so. A direct-message topic belongs to two: see \
             the conversation's participants.",
            |topic| topic.owner.filter(|_| topic.peer.is_none()).map(Account::at)
        )
        .leaf("envelopeCount", "How many envelopes were published on it.", |topic| {
            UInt64(topic.envelope_count)
        })
        .leaf("byteCount", "How many bytes of messages.", |topic| UInt64(topic.byte_count))
        .leaf("firstSeenAt", "The earliest time of its envelopes, by their senders' clocks.", |topic| {
            DateTime(topic.first_seen_ns)
        })
        .leaf("lastSeenAt", "The latest time of its envelopes, by their senders' clocks.", |topic| {
            DateTime(topic.last_seen_ns)
        })
        .load(
            "envelopes",
            "Its envelopes; in the order of indexing when nothing else is said.",
            Statements::of(1),
            envelopes
        )
);
connection!(Topic, "TopicConnection", "TopicEdge");

async fn envelopes(
    call: Call<'_>,
    topics: &[Topic],
    mut asked: EnvelopePages,
) -> Result<Vec<Result<Connection<store::read::Envelope>, Trouble>>, Trouble> {
    let keys: Vec<_> = topics.iter().map(|topic| topic.key).collect();
    let (order, args) = (asked.order_by.take(), asked.args());
    let Some(filter) = asked.filter else {
        let lists = lists::lists(call, &keys, Default::default(), order, args).await?;
        // Everything on a topic is counted already.
        let counted = lists.into_iter().zip(topics);
        return Ok(counted.map(|(list, topic)| Ok(list?.counted(topic.envelope_count))).collect());
    };
    lists::lists(call, &keys, filter.try_into()?, order, args).await
}

/// The key of the topic that has this name.
pub(super) fn key_of(name: &str) -> Uuid {
    topic_key(&wire::topic::from_text(name))
}

/// The topics of rows that have one.
pub(super) async fn topics(
    call: Call<'_>,
    keys: impl Iterator<Item = Uuid> + Clone,
) -> Result<Vec<Result<Topic, Trouble>>, Trouble> {
    let found = call.scope().topics(keys.clone()).await?;
    let topic = |key| found.get(&key).cloned().ok_or_else(|| Trouble::rebuilding("topics"));
    Ok(keys.map(topic).collect())
}
