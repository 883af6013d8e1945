//! Relay's pages: the arguments, the connection, and the count that is only made when asked for.

use async_graphql::{
    Context, Object, OutputType,
    connection::{Connection as Relay, DefaultConnectionName, DefaultEdgeName, Edge, EmptyFields},
};
use store::read::{
    AccountFilter, ContactBundleFilter, ConversationFilter, EnvelopeFilter, InviteFilter, Keyed,
    MessageFilter, Page, PageRequest, TopicFilter,
};

use crate::{
    cursor::{self, Place},
    error::Trouble,
    scalars::UInt64,
    scope::asked,
};

/// Rows of a page when nothing is said.
pub(crate) const DEFAULT_PAGE: u32 = 50;
/// Rows of a page at most, and members of a list argument at most.
pub(crate) const MAX_PAGE: u32 = 500;

pub(crate) type Connection<T> =
    Relay<String, T, Total, EmptyFields, DefaultConnectionName, DefaultEdgeName>;

/// The four arguments that every list takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Args {
    pub(crate) first: Option<i32>,
    pub(crate) after: Option<String>,
    pub(crate) last: Option<i32>,
    pub(crate) before: Option<String>,
}

impl Args {
    /// What to read. `T` is the row that cursors must fit.
    pub(crate) fn request<T: Keyed<O>, O>(
        &self,
        place: Place,
        order: O,
        descending: bool,
    ) -> Result<PageRequest<O>, Trouble> {
        let (count, name, backward) = match (self.first, self.last) {
            (Some(_), Some(_)) => {
                return Err(Trouble::input("first and last cannot be given together"));
            }
            (first, None) => (first, "first", false),
            (None, last) => (last, "last", true),
        };
        let limit = match count.map(u32::try_from) {
            None => DEFAULT_PAGE,
            Some(Err(_)) => return Err(Trouble::input(format!("{name} cannot be negative"))),
            Some(Ok(limit)) if limit > MAX_PAGE => {
                return Err(Trouble::input(format!(
                    "{name} is {limit}, a page has at most {MAX_PAGE}"
                )));
            }
            Some(Ok(limit)) => limit,
        };
        let key = |cursor: &Option<String>| {
            cursor.as_deref().map(|text| cursor::decode(text, place, T::TIE)).transpose()
        };
        Ok(PageRequest {
            order,
            descending,
            after: key(&self.after)?,
            before: key(&self.before)?,
            limit,
            backward,
        })
    }
}

/// A page as Relay shows it.
pub(crate) fn connect<R: Keyed<O>, O: Copy, T: OutputType>(
    place: Place,
    request: &PageRequest<O>,
    page: Page<R>,
    total: Total,
    node: impl Fn(R) -> T,
) -> Connection<T> {
    // Behind a cursor there is at least the row that it came from.
    let (has_previous, has_next) = if request.backward {
        (page.has_more || request.after.is_some(), request.before.is_some())
    } else {
        (request.after.is_some(), page.has_more || request.before.is_some())
    };
    let mut connection = Relay::with_additional_fields(has_previous, has_next, total);
    connection.edges = page
        .rows
        .into_iter()
        .map(|row| Edge::new(cursor::encode(place, &row.key(request.order)), node(row)))
        .collect();
    connection
}

/// How many rows a list has over all its pages.
#[derive(Clone, Debug)]
pub(crate) enum Total {
    Known(u64),
    Topics(TopicFilter),
    Envelopes(EnvelopeFilter),
    Accounts(AccountFilter),
    ContactBundles(ContactBundleFilter),
    Invites(InviteFilter),
    Conversations(ConversationFilter),
    Messages(MessageFilter),
}

/// What every connection has besides its page.
#[Object(name = "ConnectionTotal")]
impl Total {
    /// How many there are over all pages, with the same filter. Counted only when asked for, which may take long.
    async fn total_count(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<UInt64>> {
        let scope = &asked(ctx)?.scope;
        if let Total::Known(count) = self {
            return Ok(Some(UInt64(*count)));
        }
        let snapshot = scope.snapshot_for_list().await?;
        let count = match self {
            Total::Known(count) => Ok(*count),
            Total::Topics(filter) => snapshot.count_topics(filter).await,
            Total::Envelopes(filter) => snapshot.count_envelopes(filter).await,
            Total::Accounts(filter) => snapshot.count_accounts(filter).await,
            Total::ContactBundles(filter) => snapshot.count_contact_bundles(filter).await,
            Total::Invites(filter) => snapshot.count_invites(filter).await,
            Total::Conversations(filter) => snapshot.count_conversations(filter).await,
            Total::Messages(filter) => snapshot.count_messages(filter).await,
        };
        Ok(Some(UInt64(scope.told(count)?)))
    }
}

/// Refuses list arguments that are longer than a page.
pub(crate) fn at_most<T>(name: &str, list: &[T]) -> Result<(), Trouble> {
    let max = usize::try_from(MAX_PAGE).unwrap_or(usize::MAX);
    if list.len() > max {
        let len = list.len();
        return Err(Trouble::input(format!("{name} has {len} members, at most {max} are taken")));
    }
    Ok(())
}
