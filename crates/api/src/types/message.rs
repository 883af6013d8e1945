use async_graphql::{Context, Description, ID, Object, Result};
use store::read;

use super::{
    account::Account,
    conversation::Conversation,
    envelope::Envelope,
    words::{Generation, Verification},
};
use crate::{
    node_id::NodeId,
    scalars::DateTime,
    scope::{ConversationBy, CopiesOf, asked},
};

/// One V1 or V2 message, however many topics hold a copy of its bytes: a first V1 message stands in two intro topics
/// and in the dm topic.
#[derive(Description)]
pub(crate) struct Message(read::Message);

impl From<read::Message> for Message {
    fn from(row: read::Message) -> Self {
        Message(row)
    }
}

#[Object(use_type_description = true)]
impl Message {
    /// Stable across rebuilds of the index.
    pub(crate) async fn id(&self) -> ID {
        NodeId::Message(self.0.id).encode()
    }

    /// V1 or V2.
    async fn generation(&self) -> Generation {
        self.0.generation.into()
    }

    /// The conversation that it belongs to. null when nothing was ever published on that conversation's topic itself.
    async fn conversation(&self, ctx: &Context<'_>) -> Result<Option<Conversation>> {
        let Some(key) = self.0.conversation else { return Ok(None) };
        Ok(asked(ctx)?.load(ConversationBy(key)).await?.map(Conversation::from))
    }

    /// Who sent it, as a V1 header claims. null for V2, whose headers name nobody.
    async fn sender(&self) -> Option<Account> {
        self.0.sender.map(Account::at)
    }

    /// To whom, as a V1 header claims. null for V2.
    async fn recipient(&self) -> Option<Account> {
        self.0.recipient.map(Account::at)
    }

    /// When, as the header says.
    async fn sent_at(&self) -> DateTime {
        DateTime(self.0.sent_ns)
    }

    /// Does the sender wish that others are notified? null where it is not said.
    async fn should_push(&self) -> Option<bool> {
        self.0.should_push
    }

    /// Does it carry a tag by which members of the conversation know the sender?
    async fn has_sender_hmac(&self) -> bool {
        self.0.has_sender_hmac
    }

    /// What the signatures in the header prove. Headers of V2 are unsigned.
    async fn verification(&self) -> Verification {
        self.0.verification.into()
    }

    /// The copies. Of very many only the first 100 in the order of indexing.
    async fn envelopes(&self, ctx: &Context<'_>) -> Result<Vec<Envelope>> {
        let copies = asked(ctx)?.load(CopiesOf(self.0.id)).await?.unwrap_or_default();
        Ok(copies.into_iter().map(Envelope::from).collect())
    }
}
