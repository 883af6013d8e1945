//! The lists of the schema: from arguments to a connection. Root fields and fields of types share them.

use async_graphql::{Context, Result};
use store::read;

use super::{
    account::Account, contact_bundle::ContactBundle, conversation::Conversation,
    envelope::Envelope, invite::Invite, message::Message, orders::*, topic::Topic,
};
use crate::{
    cursor::Place,
    paging::{Args, Connection, Total, connect},
    scope::asked,
};

/// A list: `$method` of a snapshot, with this row, shown as this type.
macro_rules! list {
    ($(#[$doc:meta])* $name:ident, $method:ident, $filter:ident, $order:ident, $row:ident -> $node:ident) => {
        $(#[$doc])*
        pub(crate) async fn $name(
            ctx: &Context<'_>,
            filter: read::$filter,
            order: Option<$order>,
            args: Args,
            total: impl FnOnce(read::$filter) -> Total,
        ) -> Result<Connection<$node>> {
            let scope = &asked(ctx)?.scope;
            let (by, descending) = $order::or_default(order);
            let place = place::<$order>(stringify!($name), by, descending, &filter);
            let request = args.request::<read::$row, _>(place, by, descending)?;
            let snapshot = scope.snapshot_for_list().await?;
            let page = scope.told(snapshot.$method(&filter, &request).await)?;
            Ok(connect(place, &request, page, total(filter), $node::from))
        }
    };
}

/// Cursors in the order of the log fit every list in the order of the log.
fn place<O: Ordering>(
    list: &str,
    by: O::By,
    descending: bool,
    filter: &impl std::fmt::Debug,
) -> Place {
    if O::of_log(by) {
        return Place::LOG;
    }
    Place::of(list, &format!("{by:?} {descending}"), &format!("{filter:?}"))
}

list!(
    /// Topics.
    topics, topics, TopicFilter, TopicOrder, Topic -> Topic
);
list!(
    /// Envelopes.
    envelopes, envelopes, EnvelopeFilter, EnvelopeOrder, Envelope -> Envelope
);
list!(
    /// Accounts.
    accounts, accounts, AccountFilter, AccountOrder, Account -> Account
);
list!(
    /// Contact bundles.
    contact_bundles, contact_bundles, ContactBundleFilter, TimeOrder, ContactBundle -> ContactBundle
);
list!(
    /// Invites.
    invites, invites, InviteFilter, TimeOrder, Invite -> Invite
);
list!(
    /// Conversations.
    conversations, conversations, ConversationFilter, ConversationOrder, Conversation -> Conversation
);
list!(
    /// Messages.
    messages, messages, MessageFilter, TimeOrder, Message -> Message
);
