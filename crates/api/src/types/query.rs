//! The root fields.

use async_graphql::{Context, Description, ID, Object, Result};
use futures::future::try_join_all;
use store::{log::topic_key, read};

use super::{
    account::Account, analytics::Analytics, contact_bundle::ContactBundle,
    conversation::Conversation, envelope::Envelope, filters::*, invite::Invite, lists,
    message::Message, node::Node, orders::*, reachability::Reachability, status::Status,
    topic::Topic,
};
use crate::{
    error::Trouble,
    paging::{Args, Connection, Total, at_most},
    scalars::{Address, Hex},
    scope::{AccountBy, EnvelopesBy, TopicBy, asked},
};

/// What can be asked.
#[derive(Description)]
pub(crate) struct Query;

#[Object(use_type_description = true)]
#[expect(clippy::too_many_arguments, reason = "the arguments of the fields")]
impl Query {
    /// The thing that has this id; null when there is none.
    async fn node(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its id.")] id: ID,
    ) -> Result<Option<Node>> {
        Node::find(ctx, &id).await
    }

    /// The things that have these ids, in their order; null in the place of those that are not there.
    async fn nodes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Their ids, at most 500.")] ids: Vec<ID>,
    ) -> Result<Vec<Option<Node>>> {
        at_most("ids", &ids)?;
        try_join_all(ids.iter().map(|id| Node::find(ctx, id))).await
    }

    /// Up to which point this answer speaks, how far each source is, what lags.
    async fn status(&self, ctx: &Context<'_>) -> Result<Status> {
        Status::now(ctx).await
    }

    /// Figures about the index.
    async fn analytics(&self) -> Analytics {
        Analytics
    }

    /// The topic of this name; null when nothing was ever published on it.
    async fn topic(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its name, byte for byte.")] name: String,
    ) -> Result<Option<Topic>> {
        Ok(asked(ctx)?.load(TopicBy(topic_key(&name))).await?.map(Topic::from))
    }

    /// Every topic that anything was published on.
    async fn topics(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<TopicFilter>,
        #[graphql(desc = "By default the most recently active first.")] order_by: Option<
            TopicOrder,
        >,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Topic>> {
        let filter = read::TopicFilter::from(filter.unwrap_or_default());
        let args = Args { first, after, last, before };
        lists::topics(ctx, filter, order_by, args, Total::Topics).await
    }

    /// The envelope that has this digest; of several published at different times, the first that was indexed.
    async fn envelope(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "SHA-256(topic ‖ message), 32 bytes.")] digest: Hex,
    ) -> Result<Option<Envelope>> {
        let digest = <[u8; 32]>::try_from(digest.0)
            .map_err(|_| Trouble::input("a digest has 32 bytes, which is 64 hexadecimal digits"))?;
        let copies = asked(ctx)?.load(EnvelopesBy(digest.into())).await?.unwrap_or_default();
        Ok(copies.into_iter().next().map(Envelope::from))
    }

    /// Default order is the order of indexing: a reader who pages forward sees every envelope exactly once.
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
        let filter = read::EnvelopeFilter::try_from(filter.unwrap_or_default())?;
        let args = Args { first, after, last, before };
        lists::envelopes(ctx, filter, order_by, args, Total::Envelopes).await
    }

    /// The wallet that has this address; null when the network never named it.
    async fn account(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Its address.")] address: Address,
    ) -> Result<Option<Account>> {
        Ok(asked(ctx)?.load(AccountBy(address.0)).await?.map(Account::from))
    }

    /// Every wallet that a topic, a bundle or a header names.
    async fn accounts(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<AccountFilter>,
        #[graphql(desc = "By default the most recently first seen.")] order_by: Option<
            AccountOrder,
        >,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Account>> {
        let filter = read::AccountFilter::try_from(filter.unwrap_or_default())?;
        let args = Args { first, after, last, before };
        lists::accounts(ctx, filter, order_by, args, Total::Accounts).await
    }

    /// Who can be reached on the network, by which generation. At most 500 addresses; the answer keeps their order.
    async fn reachability(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Whom to look for.")] addresses: Vec<Address>,
    ) -> Result<Vec<Reachability>> {
        Reachability::of(ctx, &addresses).await
    }

    /// Every publication of keys on a contact topic.
    async fn contact_bundles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<ContactBundleFilter>,
        #[graphql(desc = "By time of publication; by default the newest first.")] order_by: Option<
            TimeOrder,
        >,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<ContactBundle>> {
        let filter = read::ContactBundleFilter::from(filter.unwrap_or_default());
        let args = Args { first, after, last, before };
        lists::contact_bundles(ctx, filter, order_by, args, Total::ContactBundles).await
    }

    /// Every invitation.
    async fn invites(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<InviteFilter>,
        #[graphql(desc = "By the time in the header; by default the newest first.")]
        order_by: Option<TimeOrder>,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Invite>> {
        let filter = read::InviteFilter::from(filter.unwrap_or_default());
        let args = Args { first, after, last, before };
        lists::invites(ctx, filter, order_by, args, Total::Invites).await
    }

    /// Every conversation.
    async fn conversations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<ConversationFilter>,
        #[graphql(desc = "By default the most recently active first.")] order_by: Option<
            ConversationOrder,
        >,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Conversation>> {
        let filter = read::ConversationFilter::from(filter.unwrap_or_default());
        let args = Args { first, after, last, before };
        lists::conversations(ctx, filter, order_by, args, Total::Conversations).await
    }

    /// Every V1 and V2 message.
    async fn messages(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<MessageFilter>,
        #[graphql(desc = "By the time in the header; by default the newest first.")]
        order_by: Option<TimeOrder>,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Message>> {
        let filter = read::MessageFilter::from(filter.unwrap_or_default());
        let args = Args { first, after, last, before };
        lists::messages(ctx, filter, order_by, args, Total::Messages).await
    }
}
