use store::read::{Conversation, Envelope, Message};

use super::{
    account::Account,
    words::{Generation, Verification},
};
use crate::{
    error::Trouble,
    exec::{Call, ID, Statements, Table, object},
    node_id::NodeId,
    paging::connection,
    scalars::DateTime,
};

object!(
    Message,
    Table::new(
        "Message",
        "One V1 or V2 message, however many topics hold a copy of its bytes: a first V1 message stands in two intro \
         topics and in the dm topic."
    )
    .implements("Node")
    .member_of("Payload")
    .leaf("id", ID, |message: &Message| NodeId::Message(message.sent_ns, message.id))
    .leaf("generation", "V1 or V2.", |message| Generation::from(message.generation))
    .load(
        "conversation",
        "The conversation that it belongs to. null when nothing was ever published on that conversation's topic itself.",
        Statements::of(1),
        conversation
    )
    .inline(
        "sender",
        "Who sent it, as a V1 header claims. null for V2, whose headers name nobody.",
        |message| message.sender.map(Account::at)
    )
    .inline("recipient", "To whom, as a V1 header claims. null for V2.", |message| {
        message.recipient.map(Account::at)
    })
    .leaf("sentAt", "When, as the header says.", |message| DateTime(message.sent_ns))
    .leaf(
        "shouldPush",
        "Does the sender wish that others are notified? null where it is not said.",
        |message| message.should_push
    )
    .leaf(
        "hasSenderHmac",
        "Does it carry a tag by which members of the conversation know the sender?",
        |message| message.has_sender_hmac
    )
    .leaf(
        "verification",
        "What the signatures in the header prove. Headers of V2 are unsigned.",
        |message| Verification::from(message.verification)
    )
    .load(
        "envelopes",
        "The copies. Of very many only the first 100 in the order of indexing.",
        Statements::of(1),
        async |call, messages: &[Message], _: ()| -> Result<Vec<Vec<Envelope>>, _> {
            let firsts = messages.iter().map(|message| message.first_position);
            let found = call.scope().message_copies(firsts.clone()).await?;
            Ok(firsts.map(|first| found.get(&first).cloned().unwrap_or_default()).collect())
        }
    )
);
connection!(Message, "MessageConnection", "MessageEdge");

async fn conversation(
    call: Call<'_>,
    messages: &[Message],
    _: (),
) -> Result<Vec<Option<Conversation>>, Trouble> {
    let keys = messages.iter().map(|message| message.conversation);
    let found = call.scope().conversations(keys).await?;
    let one = |message: &Message| found.get(&message.conversation).cloned();
    Ok(messages.iter().map(one).collect())
}
