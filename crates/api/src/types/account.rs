use async_graphql::{Context, Description, ID, Object, Result};
use store::read;

use super::{
    contact_bundle::ContactBundle, conversation::Conversation, filters::InviteFilter,
    invite::Invite, lists, orders::TimeOrder, topic::Topic,
};
use crate::{
    node_id::NodeId,
    paging::{Args, Connection, Total},
    scalars::{Address, DateTime},
    scope::{AccountBy, CurrentBundle, asked},
};

/// A wallet.
#[derive(Description)]
pub(crate) struct Account {
    address: wire::Address,
    /// Fetched when a field asks for it: most questions are about the address alone.
    row: Option<read::Account>,
}

impl From<read::Account> for Account {
    fn from(row: read::Account) -> Self {
        Account { address: row.address, row: Some(row) }
    }
}

impl Account {
    /// An account that something else names, and which therefore exists.
    pub(crate) fn at(address: wire::Address) -> Account {
        Account { address, row: None }
    }

    async fn row(&self, ctx: &Context<'_>) -> Result<read::Account> {
        if let Some(row) = self.row {
            return Ok(row);
        }
        let asked = asked(ctx)?;
        let row = asked.load(AccountBy(self.address)).await?;
        Ok(row.ok_or_else(|| asked.scope.missing("accounts"))?)
    }
}

#[Object(use_type_description = true)]
impl Account {
    /// Stable across rebuilds of the index.
    pub(crate) async fn id(&self) -> ID {
        NodeId::Account(self.address).encode()
    }

    /// Its address.
    async fn address(&self) -> Address {
        Address(self.address)
    }

    /// The bundle that a client would use today: the newest verified one.
    async fn contact_bundle(&self, ctx: &Context<'_>) -> Result<Option<ContactBundle>> {
        Ok(asked(ctx)?.load(CurrentBundle(self.address)).await?.map(ContactBundle::from))
    }

    /// Everything that was published on its contact topic and could be read, newest first.
    async fn contact_bundles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<ContactBundle>> {
        let filter =
            read::ContactBundleFilter { account: Some(self.address), ..Default::default() };
        let args = Args { first, after, last, before };
        lists::contact_bundles(ctx, filter, None, args, Total::ContactBundles).await
    }

    /// Invitations by it and to it.
    #[expect(clippy::too_many_arguments, reason = "the arguments of the field")]
    async fn invites(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<InviteFilter>,
        #[graphql(desc = "By default the newest first.")] order_by: Option<TimeOrder>,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Invite>> {
        let mut filter = read::InviteFilter::from(filter.unwrap_or_default());
        filter.participants.insert(0, self.address);
        let args = Args { first, after, last, before };
        lists::invites(ctx, filter, order_by, args, Total::Invites).await
    }

    /// Conversations whose topic names it, the most recently active first. Those of V2 name nobody and are not here.
    async fn conversations(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Conversation>> {
        let filter =
            read::ConversationFilter { participant: Some(self.address), ..Default::default() };
        let args = Args { first, after, last, before };
        lists::conversations(ctx, filter, None, args, Total::Conversations).await
    }

    /// Topics whose name says it, the most recently active first.
    async fn topics(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "That many from the beginning; 50 by default, at most 500.")]
        first: Option<i32>,
        #[graphql(desc = "Only those after this cursor.")] after: Option<String>,
        #[graphql(desc = "That many from the end, at most 500.")] last: Option<i32>,
        #[graphql(desc = "Only those before this cursor.")] before: Option<String>,
    ) -> Result<Connection<Topic>> {
        let filter = read::TopicFilter { account: Some(self.address), ..Default::default() };
        let args = Args { first, after, last, before };
        lists::topics(ctx, filter, None, args, Total::Topics).await
    }

    /// The earliest time of an envelope that names it, by its sender's clock.
    async fn first_seen_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime(self.row(ctx).await?.first_seen_ns))
    }

    /// The latest time of an envelope that names it, by its sender's clock.
    async fn last_seen_at(&self, ctx: &Context<'_>) -> Result<DateTime> {
        Ok(DateTime(self.row(ctx).await?.last_seen_ns))
    }
}
