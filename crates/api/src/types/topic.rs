use async_graphql::{Context, Description, ID, Object, Result};
use store::read;

use super::{
    account::Account, envelope::Envelope, filters::EnvelopeFilter, lists, orders::EnvelopeOrder,
    words::TopicKind,
};
use crate::{
    node_id::NodeId,
    paging::{Args, Connection, Total},
    scalars::{DateTime, UInt64},
    scope::{TopicBy, asked},
};

/// A name on the network that envelopes are published under.
#[derive(Description)]
pub(crate) struct Topic(read::Topic);

impl From<read::Topic> for Topic {
    fn from(row: read::Topic) -> Self {
        Topic(row)
    }
}

impl Topic {
    /// The topic that has this key, which must be there.
    pub(crate) async fn of(ctx: &Context<'_>, key: uuid::Uuid) -> Result<Topic> {
        let asked = asked(ctx)?;
        let row = asked.load(TopicBy(key)).await?;
        Ok(row.ok_or_else(|| asked.scope.missing("topics"))?.into())
    }
}

#[Object(use_type_description = true)]
impl Topic {
    /// Stable across rebuilds of the index.
    pub(crate) async fn id(&self) -> ID {
        NodeId::Topic(self.0.name.clone()).encode()
    }

    /// The name as the network spells it: /xmtp/0/invite-0x…/proto; binary topics as <kind>/<hex>, e.g.
    /// group_messages_v1/0a1b…
    async fn name(&self) -> &str {
        &self.0.name
    }

    /// What it is for.
    async fn kind(&self) -> TopicKind {
        self.0.kind.into()
    }

    /// The wallet that the topic belongs to, where the name says so. A direct-message topic belongs to two: see the
    /// conversation's participants.
    async fn account(&self) -> Option<Account> {
        self.0.owner.filter(|_| self.0.peer.is_none()).map(Account::at)
    }

    /// How many envelopes were published on it.
    async fn envelope_count(&self) -> UInt64 {
        UInt64(self.0.envelope_count)
    }

    /// How many bytes of messages.
    async fn byte_count(&self) -> UInt64 {
        UInt64(self.0.byte_count)
    }

    /// The earliest time of its envelopes, by their senders' clocks.
    async fn first_seen_at(&self) -> DateTime {
        DateTime(self.0.first_seen_ns)
    }

    /// The latest time of its envelopes, by their senders' clocks.
    async fn last_seen_at(&self) -> DateTime {
        DateTime(self.0.last_seen_ns)
    }

    /// Its envelopes; in the order of indexing when nothing else is said.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the field")]
    async fn envelopes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<EnvelopeFilter>,
        #[graphql(desc = "By default in the order of indexing.")] order_by: Option<EnvelopeOrder>,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Envelope>> {
        let unfiltered = filter.is_none();
        let mut filter = read::EnvelopeFilter::try_from(filter.unwrap_or_default())?;
        let here = filter.topics.as_ref().is_none_or(|keys| keys.contains(&self.0.key));
        filter.topics = Some(if here { vec![self.0.key] } else { Vec::new() });
        let count = self.0.envelope_count;
        lists::envelopes(ctx, filter, order_by, Args { first, after, last, before }, |filter| {
            if unfiltered { Total::Known(count) } else { Total::Envelopes(filter) }
        })
        .await
    }
}
