use async_graphql::{Context, Description, ID, Object, Result};
use store::read;

use super::{
    account::Account, lists, message::Message, orders::TimeOrder, topic::Topic, words::Generation,
};
use crate::{
    node_id::NodeId,
    paging::{Args, Connection, Total},
    scalars::{DateTime, UInt64},
};

/// A dm or m- topic (an ephemeral mE- topic is a conversation of its own).
#[derive(Description)]
pub(crate) struct Conversation(read::Conversation);

impl From<read::Conversation> for Conversation {
    fn from(row: read::Conversation) -> Self {
        Conversation(row)
    }
}

#[Object(use_type_description = true)]
impl Conversation {
    /// Stable across rebuilds of the index.
    pub(crate) async fn id(&self) -> ID {
        NodeId::Conversation(self.0.name.clone()).encode()
    }

    /// The topic that it is held on.
    async fn topic(&self, ctx: &Context<'_>) -> Result<Topic> {
        Topic::of(ctx, self.0.key).await
    }

    /// V1 for dm topics, V2 for m- topics.
    async fn generation(&self) -> Generation {
        self.0.generation.into()
    }

    /// Both wallets for V1; empty for V2, whose topics name nobody.
    async fn participants(&self) -> Vec<Account> {
        self.0.participants.map_or_else(Vec::new, |(a, b)| vec![Account::at(a), Account::at(b)])
    }

    /// How many envelopes on its topic hold a message that could be read as one.
    async fn message_count(&self) -> UInt64 {
        UInt64(self.0.message_count)
    }

    /// When the first message was sent, by its sender's clock.
    async fn first_message_at(&self) -> Option<DateTime> {
        self.0.first_message_ns.map(DateTime)
    }

    /// When the last message was sent, by its sender's clock.
    async fn last_message_at(&self) -> Option<DateTime> {
        self.0.last_message_ns.map(DateTime)
    }

    /// Its messages.
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "By default the newest first.")] order_by: Option<TimeOrder>,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Message>> {
        let filter = read::MessageFilter { conversation: Some(self.0.key), ..Default::default() };
        let args = Args { first, after, last, before };
        lists::messages(ctx, filter, order_by, args, Total::Messages).await
    }
}
