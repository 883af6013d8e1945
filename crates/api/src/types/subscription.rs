//! What can be followed. A subscription is executed in turns: the first only learns what is wanted, and each later one
//! tells one row that the tail found. So one description of the fields serves both, and what rows hold is resolved
//! with the batches of the page that they came in.

use async_graphql::{
    Context, Result, Subscription as Root,
    connection::{DefaultEdgeName, Edge as RelayEdge, EmptyFields},
};
use futures::{Stream, stream};
use store::{Position, read};

use super::{
    contact_bundle::ContactBundle, envelope::Envelope, filters::*, invite::Invite, log_cursor,
    status::Status,
};
use crate::{
    cursor::{self, Place},
    error::{Code, Trouble},
    tail::{Item, Turn, Wanted},
};

/// One row, or none.
type Found<T> = stream::Iter<std::option::IntoIter<T>>;

type Edge<T> = RelayEdge<String, T, EmptyFields, DefaultEdgeName>;

/// See below.
pub(crate) struct Subscription;

/// What can be followed as it is indexed.
#[Root]
#[expect(clippy::unused_async, reason = "fields of a subscription are asynchronous")]
impl Subscription {
    /// Every envelope that matches, in indexing order. With `after` (a cursor in that order from any earlier answer: of
    /// an envelope, of a subscription, or the `head` in an answer's extensions) it first replays what was missed, then
    /// goes live: no gap, no duplicate.
    async fn envelopes(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<EnvelopeFilter>,
        #[graphql(desc = "Only those after this cursor; by default those to come.")] after: Option<
            String,
        >,
    ) -> Result<impl Stream<Item = Edge<Envelope>>> {
        let wanted = || Ok(Wanted::Envelopes(filter.unwrap_or_default().try_into()?));
        told(ctx, wanted, after, |item| match item {
            Item::Envelope(row) => Some((row.position, Envelope::from(row.clone()))),
            _ => None,
        })
    }

    /// Every invitation that matches, in the order in which their first copies were indexed. Resumes like `envelopes`.
    async fn invites(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<InviteFilter>,
        #[graphql(desc = "Only those after this cursor; by default those to come.")] after: Option<
            String,
        >,
    ) -> Result<impl Stream<Item = Edge<Invite>>> {
        let wanted = || Ok(Wanted::Invites(filter.unwrap_or_default().into()));
        told(ctx, wanted, after, |item| match item {
            Item::Invite(row) => Some((row.first_position, Invite::from(row.clone()))),
            _ => None,
        })
    }

    /// Every publication of keys that matches, in indexing order. Resumes like `envelopes`.
    async fn contact_bundles(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "Only those that match.")] filter: Option<ContactBundleFilter>,
        #[graphql(desc = "Only those after this cursor; by default those to come.")] after: Option<
            String,
        >,
    ) -> Result<impl Stream<Item = Edge<ContactBundle>>> {
        let wanted = || Ok(Wanted::ContactBundles(filter.unwrap_or_default().into()));
        told(ctx, wanted, after, |item| match item {
            Item::ContactBundle(row) => Some((row.position, ContactBundle::from(row.clone()))),
            _ => None,
        })
    }

    /// The pulse of the index, about once a second.
    async fn status(&self, ctx: &Context<'_>) -> Result<impl Stream<Item = Status>> {
        let status = match ctx.data::<Turn>()? {
            Turn::Opening(cell) => {
                cell.open(Wanted::Status, None);
                None
            }
            Turn::Telling(_) => Some(Status::now(ctx).await?),
        };
        Ok(stream::iter(status))
    }
}

fn told<T: async_graphql::OutputType>(
    ctx: &Context<'_>,
    wanted: impl FnOnce() -> std::result::Result<Wanted, Trouble>,
    after: Option<String>,
    row: impl FnOnce(&Item) -> Option<(Position, T)>,
) -> Result<Found<Edge<T>>> {
    let edge = match ctx.data::<Turn>()? {
        Turn::Opening(cell) => {
            cell.open(wanted()?, after.as_deref().map(position).transpose()?);
            None
        }
        Turn::Telling(item) => {
            row(item).and_then(|(position, node)| Some(Edge::new(log_cursor(position)?, node)))
        }
    };
    Ok(stream::iter(edge))
}

/// The position that a cursor in the order of the log means.
pub(crate) fn position(cursor: &str) -> std::result::Result<Position, Trouble> {
    let key = cursor::decode(cursor, Place::LOG, read::TieKind::Position).map_err(|_| {
        Trouble::new(
            Code::BadCursor,
            "after takes a cursor in the order of indexing: of an envelope, of a subscription, or extensions.head",
        )
    })?;
    match key {
        read::Key { sort: None, tie: read::Tie::Position(position) } if position >= 0 => {
            Ok(Position(position))
        }
        _ => Err(Trouble::new(Code::BadCursor, "this is not a cursor of this API")),
    }
}
