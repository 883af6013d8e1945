use store::read::{Conversation, Message};

use super::{
    account::Account,
    lists::{self, TimePages},
    topic,
    words::Generation,
};
use crate::{
    error::Trouble,
    exec::{Call, ID, Statements, Table, object},
    node_id::NodeId,
    paging::{Connection, connection},
    scalars::{DateTime, UInt64},
};

object!(
    Conversation,
    Table::new(
        "Conversation",
        "A dm or m- topic (an ephemeral mE- topic is a conversation of its own)."
    )
    .implements("Node")
    .leaf("id", ID, |one: &Conversation| NodeId::Conversation(one.name.clone()))
    .load(
        "topic",
        "The topic that it is held on.",
        Statements::of(1),
        async |call, conversations: &[Conversation], _: ()| {
            topic::topics(call, conversations.iter().map(|one| one.key)).await
        }
    )
    .leaf("generation", "V1 for dm topics, V2 for m- topics.", |one| {
        Generation::from(one.generation)
    })
    .inline("participants", "Both wallets for V1; empty for V2, whose topics name nobody.", |one| {
        match one.participants {
            Some((a, b)) => vec![Account::at(a), Account::at(b)],
            None => Vec::new(),
        }
    })
    .leaf(
        "messageCount",
        "How many envelopes on its topic hold a message that could be read as one.",
        |one| UInt64(one.message_count)
    )
    .leaf("firstMessageAt", "When the first message was sent, by its sender's clock.", |one| one
        .first_message_ns
        .map(DateTime))
    .leaf("lastMessageAt", "When the last message was sent, by its sender's clock.", |one| {
        one.last_message_ns.map(DateTime)
    })
    .load("messages", "Its messages.", Statements::of(1), messages)
);
connection!(Conversation, "ConversationConnection", "ConversationEdge");

async fn messages(
    call: Call<'_>,
    conversations: &[Conversation],
    mut asked: TimePages,
) -> Result<Vec<Result<Connection<Message>, Trouble>>, Trouble> {
    let keys: Vec<_> = conversations.iter().map(|one| one.key).collect();
    let (order, args) = (asked.order_by.take(), asked.args());
    lists::lists(call, &keys, Default::default(), order, args).await
}
