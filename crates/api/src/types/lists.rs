//! The lists of the schema: from arguments to connections. Root fields and fields of types share them.

use std::{fmt::Debug, sync::Arc};

use async_graphql::InputObject;
use store::{
    Result as Stored,
    read::{self, Keyed, Page, PageRequest, Snapshot},
};
use uuid::Uuid;
use wire::Address;

use super::{account::Account, filters::*, orders::*};
use crate::{
    cursor::{Place, Tag},
    error::Trouble,
    exec::{Call, Object, Output, arguments},
    paging::{Args, Connection, Total, connect},
};

/// What there are lists of.
pub(crate) trait Listed: Object + Output + Clone + From<Self::Row> {
    /// The list's name.
    const LIST: &'static str;
    /// As the store has it.
    type Row: Keyed<Self::By>;
    /// What it is sorted by.
    type By: Copy + Debug;
    /// The same as an argument.
    type Order: Ordering<By = Self::By>;
    /// Which rows.
    type Filter: Debug;
    /// What lists inside of lists belong to.
    type Owner: Copy + Debug;

    /// A page.
    async fn page(
        snapshot: &Snapshot,
        filter: &Self::Filter,
        request: &PageRequest<Self::By>,
    ) -> Stored<Page<Self::Row>>;

    /// The same page of the list of each owner.
    async fn pages(
        snapshot: &Snapshot,
        owners: &[Self::Owner],
        filter: &Self::Filter,
        request: &PageRequest<Self::By>,
    ) -> Stored<Vec<Page<Self::Row>>>;

    /// How many rows.
    async fn count(snapshot: &Snapshot, filter: &Self::Filter) -> Stored<u64>;

    /// How many rows each owner has.
    async fn counts(
        snapshot: &Snapshot,
        owners: &[Self::Owner],
        filter: &Self::Filter,
    ) -> Stored<Vec<u64>>;
}

macro_rules! listed {
    ($node:ty, $list:literal, $row:ty, $by:ty, $order:ty, $filter:ty, $page:ident, $count:ident $(, $owner:ty, $pages:ident, $counts:ident)?) => {
        impl Listed for $node {
            const LIST: &'static str = $list;
            type Row = $row;
            type By = $by;
            type Order = $order;
            type Filter = $filter;

            async fn page(
                snapshot: &Snapshot,
                filter: &$filter,
                request: &PageRequest<$by>,
            ) -> Stored<Page<$row>> {
                snapshot.$page(filter, request).await
            }

            async fn count(snapshot: &Snapshot, filter: &$filter) -> Stored<u64> {
                snapshot.$count(filter).await
            }

            listed!(@owned $row, $by, $filter $(, $owner, $pages, $counts)?);
        }
    };
    (@owned $row:ty, $by:ty, $filter:ty, $owner:ty, $pages:ident, $counts:ident) => {
        type Owner = $owner;

        async fn pages(
            snapshot: &Snapshot,
            owners: &[$owner],
            filter: &$filter,
            request: &PageRequest<$by>,
        ) -> Stored<Vec<Page<$row>>> {
            snapshot.$pages(owners, filter, request).await
        }

        async fn counts(
            snapshot: &Snapshot,
            owners: &[$owner],
            filter: &$filter,
        ) -> Stored<Vec<u64>> {
            snapshot.$counts(owners, filter).await
        }
    };
    // A list that stands inside of no other.
    (@owned $row:ty, $by:ty, $filter:ty) => {
        type Owner = std::convert::Infallible;

        async fn pages(
            _snapshot: &Snapshot,
            _owners: &[Self::Owner],
            _filter: &$filter,
            _request: &PageRequest<$by>,
        ) -> Stored<Vec<Page<$row>>> {
            Ok(Vec::new())
        }

        async fn counts(
            _snapshot: &Snapshot,
            _owners: &[Self::Owner],
            _filter: &$filter,
        ) -> Stored<Vec<u64>> {
            Ok(Vec::new())
        }
    };
}

listed!(
    read::Topic,
    "topics",
    read::Topic,
    read::TopicOrder,
    TopicOrder,
    read::TopicFilter,
    topics,
    count_topics,
    Address,
    topics_of,
    count_topics_of
);
listed!(
    read::Envelope,
    "envelopes",
    read::Envelope,
    read::EnvelopeOrder,
    EnvelopeOrder,
    read::EnvelopeFilter,
    envelopes,
    count_envelopes,
    Uuid,
    envelopes_of,
    count_envelopes_of
);
listed!(
    Account,
    "accounts",
    read::Account,
    read::AccountOrder,
    AccountOrder,
    read::AccountFilter,
    accounts,
    count_accounts
);
listed!(
    read::ContactBundle,
    "contact_bundles",
    read::ContactBundle,
    read::TimeOrder,
    TimeOrder,
    read::ContactBundleFilter,
    contact_bundles,
    count_contact_bundles,
    Address,
    contact_bundles_of,
    count_contact_bundles_of
);
listed!(
    read::Invite,
    "invites",
    read::Invite,
    read::TimeOrder,
    TimeOrder,
    read::InviteFilter,
    invites,
    count_invites,
    Address,
    invites_of,
    count_invites_of
);
listed!(
    read::Conversation,
    "conversations",
    read::Conversation,
    read::ConversationOrder,
    ConversationOrder,
    read::ConversationFilter,
    conversations,
    count_conversations,
    Address,
    conversations_of,
    count_conversations_of
);
listed!(
    read::Message,
    "messages",
    read::Message,
    read::TimeOrder,
    TimeOrder,
    read::MessageFilter,
    messages,
    count_messages,
    Uuid,
    messages_of,
    count_messages_of
);

listed!(
    read::Welcome,
    "welcomes",
    read::Welcome,
    read::TimeOrder,
    TimeOrder,
    read::WelcomeFilter,
    welcomes,
    count_welcomes,
    [u8; 32],
    welcomes_of,
    count_welcomes_of
);

/// The arguments of a list.
macro_rules! paged {
    ($name:ident { $($(#[doc = $doc:literal])* $field:ident: $type:ty,)* }) => {
        #[derive(InputObject, Default)]
        pub(crate) struct $name {
            $($(#[doc = $doc])* pub(super) $field: Option<$type>,)*
            /// That many from the beginning; 50 by default, at most 500.
            first: Option<i32>,
            /// Only those after this cursor.
            after: Option<String>,
            /// That many from the end, at most 500.
            last: Option<i32>,
            /// Only those before this cursor.
            before: Option<String>,
        }

        arguments!($name);

        impl $name {
            pub(super) fn args(&mut self) -> Args {
                Args {
                    first: self.first,
                    after: self.after.take(),
                    last: self.last,
                    before: self.before.take(),
                }
            }
        }
    };
}

paged!(Pages {});
paged!(TopicPages {
    /// Only those that match.
    filter: TopicFilter,
    /// By default the most recently active first.
    order_by: TopicOrder,
});
paged!(EnvelopePages {
    /// Only those that match.
    filter: EnvelopeFilter,
    /// By default in the order of indexing.
    order_by: EnvelopeOrder,
});
paged!(AccountPages {
    /// Only those that match.
    filter: AccountFilter,
    /// By default the most recently first seen first.
    order_by: AccountOrder,
});
paged!(ContactBundlePages {
    /// Only those that match.
    filter: ContactBundleFilter,
    /// By time of publication; by default the newest first.
    order_by: TimeOrder,
});
paged!(InvitePages {
    /// Only those that match.
    filter: InviteFilter,
    /// By the time in the header; by default the newest first.
    order_by: TimeOrder,
});
paged!(ConversationPages {
    /// Only those that match.
    filter: ConversationFilter,
    /// By default the most recently active first.
    order_by: ConversationOrder,
});
paged!(MessagePages {
    /// Only those that match.
    filter: MessageFilter,
    /// By the time in the header; by default the newest first.
    order_by: TimeOrder,
});
paged!(WelcomePages {
    /// Only those that match.
    filter: WelcomeFilter,
    /// By time of publication; by default the newest first.
    order_by: TimeOrder,
});
paged!(TimePages {
    /// By default the newest first.
    order_by: TimeOrder,
});

/// What cursors of a list fit. Those in the order of the log fit every list in the order of the log.
fn place<T: Listed>(tag: Tag, by: T::By, descending: bool, filter: &str) -> Place {
    if T::Order::of_log(by) {
        return Place::log(tag);
    }
    Place::of(tag, T::LIST, &format!("{by:?} {descending}"), filter)
}

/// What to read of a list of the root, and what its cursors fit.
pub(super) fn request<T: Listed>(
    tag: Tag,
    filter: &T::Filter,
    order: Option<T::Order>,
    args: &Args,
) -> Result<(Place, PageRequest<T::By>), Trouble> {
    let (by, descending) = T::Order::or_default(order);
    let place = place::<T>(tag, by, descending, &format!("{filter:?}"));
    Ok((place, args.request::<T::Row, _>(place, by, descending)?))
}

/// A list of the root.
pub(super) async fn list<T: Listed>(
    call: Call<'_>,
    filter: T::Filter,
    order: Option<T::Order>,
    args: Args,
) -> Result<Vec<Connection<T>>, Trouble> {
    let scope = call.scope();
    let (place, request) = request::<T>(scope.tag().await?, &filter, order, &args)?;
    let page = scope.told(T::page(scope.snapshot().await?, &filter, &request).await)?;
    Ok(vec![connect(place, &request, page, Total::Of(None, Arc::new(filter)))])
}

/// The list of one owner.
struct Asked<T: Listed> {
    owner: T::Owner,
    place: Place,
    request: PageRequest<T::By>,
}

/// The list of each owner, in one statement. A cursor fits the list of one of them; the others say so.
pub(super) async fn lists<T: Listed>(
    call: Call<'_>,
    owners: &[T::Owner],
    filter: T::Filter,
    order: Option<T::Order>,
    args: Args,
) -> Result<Vec<Result<Connection<T>, Trouble>>, Trouble> {
    let (by, descending) = T::Order::or_default(order);
    let filter_text = format!("{filter:?}");
    let scope = call.scope();
    let tag = scope.tag().await?;
    let asked: Vec<Result<Asked<T>, Trouble>> = owners
        .iter()
        .map(|owner| {
            let place = place::<T>(tag, by, descending, &format!("{filter_text} of {owner:?}"));
            let request = args.request::<T::Row, _>(place, by, descending)?;
            Ok(Asked { owner: *owner, place, request })
        })
        .collect();
    let live: Vec<T::Owner> = asked.iter().flatten().map(|one| one.owner).collect();
    let mut pages = Vec::new().into_iter();
    if let Some(first) = asked.iter().flatten().next() {
        let found = T::pages(scope.snapshot().await?, &live, &filter, &first.request).await;
        pages = scope.told(found)?.into_iter();
    }
    let filter = Arc::new(filter);
    let mut connection = |one: Asked<T>| {
        let page = pages.next().unwrap_or_else(Page::empty);
        let total = Total::Of(Some(one.owner), filter.clone());
        connect(one.place, &one.request, page, total)
    };
    Ok(asked.into_iter().map(|one| one.map(&mut connection)).collect())
}
