//! What can be followed. Rows are what the tail of the log tells: the same tables tell what they say as in an answer.

use async_graphql::InputObject;
use store::{
    Position,
    read::{self, ContactBundle, Envelope, Invite, Welcome},
};

use super::{filters::*, status};
use crate::{
    cursor::{self, Place, Tag},
    error::{Code, Trouble},
    exec::{Call, Statements, Table, arguments, object},
    paging::Edge,
    tail::{Asked, Item, Wanted},
};

macro_rules! followed {
    ($name:ident, $filter:ty) => {
        #[derive(InputObject)]
        struct $name {
            /// Only those that match.
            filter: Option<$filter>,
            /// Only those after this cursor; by default those to come.
            after: Option<String>,
        }
        arguments!($name);
    };
}

followed!(Envelopes, EnvelopeFilter);
followed!(Invites, InviteFilter);
followed!(ContactBundles, ContactBundleFilter);
followed!(Welcomes, WelcomeFilter);

object!(
    Item,
    Table::new("Subscription", "What can be followed as it is indexed.")
        .load(
            "envelopes",
            "Every envelope that matches, in indexing order. With `after` (a cursor in that order from any earlier \
             answer: of an envelope, of a subscription, or the `head` in an answer's extensions) it first replays what \
             was missed, then goes live: no gap, no duplicate.",
            Statements::of(0),
            async |call, items: &[Item], _: Envelopes| edges(call, items, envelope).await
        )
        .opens(|asked: Envelopes| {
            opened(Wanted::Envelopes(asked.filter.unwrap_or_default().try_into()?), asked.after)
        })
        .load(
            "invites",
            "Every invitation that matches, in the order in which their first copies were indexed. Resumes like \
             `envelopes`.",
            Statements::of(0),
            async |call, items: &[Item], _: Invites| edges(call, items, invite).await
        )
        .opens(|asked: Invites| {
            opened(Wanted::Invites(asked.filter.unwrap_or_default().into()), asked.after)
        })
        .load(
            "contactBundles",
            "Every publication of keys that matches, in indexing order. Resumes like `envelopes`.",
            Statements::of(0),
            async |call, items: &[Item], _: ContactBundles| edges(call, items, contact_bundle).await
        )
        .opens(|asked: ContactBundles| {
            opened(Wanted::ContactBundles(asked.filter.unwrap_or_default().into()), asked.after)
        })
        .load(
            "welcomes",
            "Every V3 invitation of an installation to a group that matches, in indexing order. Resumes like `envelopes`.",
            Statements::of(0),
            async |call, items: &[Item], _: Welcomes| edges(call, items, welcome).await
        )
        .opens(|asked: Welcomes| {
            opened(Wanted::Welcomes(asked.filter.unwrap_or_default().try_into()?), asked.after)
        })
        .load(
            "status",
            "The pulse of the index, about once a second.",
            status::STATEMENTS,
            async |call, items: &[Item], _: ()| status::now(call, items.len()).await
        )
        .opens(|_: ()| opened(Wanted::Status, None))
);

fn opened(wanted: Wanted, after: Option<String>) -> Result<Asked, Trouble> {
    Ok(Asked { wanted, after })
}

/// A row and its cursor, which is its place in the log.
fn edge<T>(tag: Tag, position: Position, node: T) -> Edge<T> {
    let key = read::Key { sort: None, tie_breaker: read::TieBreaker::Position(position.0) };
    Edge::new(Place::log(tag), key, node)
}

/// The edges of rows.
async fn edges<T>(
    call: Call<'_>,
    items: &[Item],
    edge: fn(Tag, &Item) -> Result<Edge<T>, Trouble>,
) -> Result<Vec<Result<Edge<T>, Trouble>>, Trouble> {
    let tag = call.scope().tag().await?;
    Ok(items.iter().map(|item| edge(tag, item)).collect())
}

/// The tail tells only what is wanted.
fn unwanted() -> Trouble {
    Trouble::new(Code::Internal, "the server told a row that nobody had asked for")
}

fn envelope(tag: Tag, item: &Item) -> Result<Edge<Envelope>, Trouble> {
    match item {
        Item::Envelope(row) => Ok(edge(tag, row.position, row.clone())),
        _ => Err(unwanted()),
    }
}

fn invite(tag: Tag, item: &Item) -> Result<Edge<Invite>, Trouble> {
    match item {
        Item::Invite(row) => Ok(edge(tag, row.position(), row.clone())),
        _ => Err(unwanted()),
    }
}

fn contact_bundle(tag: Tag, item: &Item) -> Result<Edge<ContactBundle>, Trouble> {
    match item {
        Item::ContactBundle(row) => Ok(edge(tag, row.position(), row.clone())),
        _ => Err(unwanted()),
    }
}

fn welcome(tag: Tag, item: &Item) -> Result<Edge<Welcome>, Trouble> {
    match item {
        Item::Welcome(row) => Ok(edge(tag, row.position, row.clone())),
        _ => Err(unwanted()),
    }
}

/// The position that a cursor in the order of the log means.
pub(crate) fn position(tag: Tag, cursor: &str) -> Result<Position, Trouble> {
    let key = cursor::decode(cursor, Place::log(tag), read::TieBreakerKind::Position);
    let key = key.map_err(|trouble| {
        let message = format!(
            "{}; `after` takes a cursor in the order of indexing: of an envelope, of a subscription, or extensions.head",
            trouble.message
        );
        Trouble { message, ..trouble }
    })?;
    match key {
        read::Key { sort: None, tie_breaker: read::TieBreaker::Position(position) }
            if position >= 0 =>
        {
            Ok(Position(position))
        }
        _ => Err(Trouble::new(Code::BadCursor, "this is not a cursor of this API")),
    }
}
