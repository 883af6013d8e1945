//! What subscriptions follow: rows in the order of the log. Positions become visible in ascending order, so a follower that
//! has read a table up to one position and goes on from there misses no row and sees none twice.

use wire::Address;

use super::{
    ContactBundle, ContactBundleFilter, Envelope, EnvelopeFilter, EnvelopeOrder, Invite,
    InviteFilter, Page, Topic, Welcome, WelcomeFilter, contact_bundles, invites,
    page::{Key, PageRequest, TieBreaker},
    row::Columns,
    snapshot::{Heads, Snapshot, heads},
    statement::{Filter, List},
    welcomes,
};
use crate::{database::Store, error::Result, log::Position, time};

/// The order of the log, for tables that are usually sorted by something else.
#[derive(Clone, Copy, Debug)]
struct LogOrder;

/// The rows behind one position up to another, in the order of the log.
fn span(after: Position, upto: Position, limit: u32) -> PageRequest<LogOrder> {
    let at = |position| Some(Key { sort: None, tie_breaker: TieBreaker::Position(position) });
    PageRequest {
        after: at(after.0),
        before: at(upto.0.saturating_add(1)),
        ..PageRequest::first(LogOrder, false, limit)
    }
}

/// The position of each table that is followed: no row will appear at or behind it any more. It is the served head, unless
/// the table's projection is stale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Followed {
    /// Of envelopes together with their topics.
    pub envelopes: Position,
    /// Of invitations.
    pub invites: Position,
    /// Of contact bundles.
    pub contact_bundles: Position,
    /// Of welcomes.
    pub welcomes: Position,
}

impl Followed {
    fn from_columns(columns: &mut Columns<'_>) -> Result<Followed> {
        Ok(Followed {
            envelopes: Position(columns.get()?),
            invites: Position(columns.get()?),
            contact_bundles: Position(columns.get()?),
            welcomes: Position(columns.get()?),
        })
    }

    /// For each table the later of both positions.
    #[must_use]
    pub fn max(self, other: Followed) -> Followed {
        Followed {
            envelopes: self.envelopes.max(other.envelopes),
            invites: self.invites.max(other.invites),
            contact_bundles: self.contact_bundles.max(other.contact_bundles),
            welcomes: self.welcomes.max(other.welcomes),
        }
    }

    /// Is any table further than it is in `other`?
    #[must_use]
    pub fn is_beyond(self, other: Followed) -> bool {
        self.max(other) != other
    }

    /// The same position for all tables.
    #[must_use]
    pub fn all(position: Position) -> Followed {
        Followed {
            envelopes: position,
            invites: position,
            contact_bundles: position,
            welcomes: position,
        }
    }
}

/// The positions of the tables. What shows an envelope shows its topic as well, so envelopes wait for topics.
macro_rules! followed {
    () => {
        "coalesce(min(w.position) filter (where w.name in ('envelopes', 'topics')), 0),
         coalesce(min(w.position) filter (where w.name = 'invites'), 0),
         coalesce(min(w.position) filter (where w.name = 'contact_bundles'), 0),
         coalesce(min(w.position) filter (where w.name = 'welcomes'), 0)
           from derived.watermarks w"
    };
}

impl Store {
    /// How far the log is, what is served, and each table that is followed, at one moment.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn followed(&self) -> Result<(Heads, Followed)> {
        const FOLLOWED: &str = concat!(
            "select heads.*, marks.* from (",
            heads!(),
            ") heads cross join (select ",
            followed!(),
            ") marks"
        );
        let mut connection = self.connection().await?;
        let row = sqlx::query(FOLLOWED).fetch_one(&mut *connection).await?;
        let mut columns = Columns::of(&row, 0);
        Ok((Heads::from_columns(&mut columns)?, Followed::from_columns(&mut columns)?))
    }
}

impl Snapshot {
    /// The position of each table that is followed, in this snapshot. A transaction in which nothing is stale knows it
    /// already.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn followed(&self) -> Result<Followed> {
        if self.is_transaction() && self.stale().is_empty() {
            return Ok(Followed::all(self.head()));
        }
        let marks =
            self.find(concat!("select ", followed!()), Vec::new(), Followed::from_columns).await?;
        Ok(marks.into_iter().next().unwrap_or_default())
    }

    /// Envelopes behind `after` and not beyond `upto`, in the order of the log.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn envelopes_since(
        &self,
        filter: &EnvelopeFilter,
        after: Position,
        upto: Position,
        limit: u32,
    ) -> Result<Page<Envelope>> {
        let span = span(after, upto, limit);
        let request = PageRequest {
            order: EnvelopeOrder::Indexed,
            descending: false,
            after: span.after,
            before: span.before,
            limit,
            backward: false,
        };
        self.envelopes(filter, &request).await
    }

    /// Invitations whose first copy lies in that range.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn invites_since(
        &self,
        filter: &InviteFilter,
        after: Position,
        upto: Position,
        limit: u32,
    ) -> Result<Page<Invite>> {
        let list = List { sort: None, tie_breaker: "first_position", ..invites::LIST };
        let filter = filter.filter(Filter::default());
        self.page(&list, filter, &span(after, upto, limit), Invite::from_columns).await
    }

    /// Contact bundles in that range. With `current_only`, those that are current in this snapshot.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn contact_bundles_since(
        &self,
        filter: &ContactBundleFilter,
        after: Position,
        upto: Position,
        limit: u32,
    ) -> Result<Page<ContactBundle>> {
        let list = List { sort: None, ..contact_bundles::LIST };
        let filter = filter.filter(Filter::default());
        self.page(&list, filter, &span(after, upto, limit), ContactBundle::from_columns).await
    }

    /// Welcomes in that range.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn welcomes_since(
        &self,
        filter: &WelcomeFilter,
        after: Position,
        upto: Position,
        limit: u32,
    ) -> Result<Page<Welcome>> {
        let list = List { sort: None, ..welcomes::LIST };
        let filter = filter.filter(Filter::default());
        self.page(&list, filter, &span(after, upto, limit), Welcome::from_columns).await
    }
}

fn within(time_ns: u64, after: Option<u64>, before: Option<u64>) -> bool {
    // As the statements compare: times as they are stored.
    let time_ns = time::to_db(time_ns);
    after.is_none_or(|after| time_ns >= time::to_db(after))
        && before.is_none_or(|before| time_ns < time::to_db(before))
}

fn any_of<T: PartialEq>(wanted: Option<&Vec<T>>, is: &T) -> bool {
    wanted.is_none_or(|wanted| wanted.contains(is))
}

fn is(wanted: Option<Address>, address: Address) -> bool {
    wanted.is_none_or(|wanted| wanted == address)
}

impl EnvelopeFilter {
    /// Is the topic needed to decide whether an envelope matches?
    #[must_use]
    pub fn needs_topic(&self) -> bool {
        self.account.is_some()
    }

    /// Would a list with this filter contain this envelope? `topic` is the envelope's own, where it is needed.
    #[must_use]
    pub fn matches(&self, envelope: &Envelope, topic: Option<&Topic>) -> bool {
        any_of(self.topics.as_ref(), &envelope.topic_key)
            && any_of(self.topic_kinds.as_ref(), &envelope.topic_kind)
            && any_of(self.kinds.as_ref(), &envelope.kind)
            && any_of(self.generations.as_ref(), &envelope.generation)
            && within(envelope.timestamp_ns, self.after, self.before)
            && self.account.is_none_or(|account| {
                topic.is_some_and(|topic| {
                    topic.owner == Some(account) || topic.peer == Some(account)
                })
            })
    }
}

impl InviteFilter {
    /// Would a list with this filter contain this invitation?
    #[must_use]
    pub fn matches(&self, invite: &Invite) -> bool {
        is(self.sender, invite.sender)
            && (self.recipient.is_none() || self.recipient == invite.recipient())
            && self
                .participants
                .iter()
                .all(|who| *who == invite.sender || Some(*who) == invite.recipient())
            && any_of(self.verification.as_ref(), &invite.verification)
            && within(invite.created_ns, self.after, self.before)
    }
}

impl ContactBundleFilter {
    /// Would a list with this filter contain this bundle, apart from `current_only`, which depends on other bundles?
    #[must_use]
    pub fn matches(&self, bundle: &ContactBundle) -> bool {
        is(self.account, bundle.account)
            && self.generation.is_none_or(|generation| generation == bundle.generation)
            && any_of(self.verification.as_ref(), &bundle.verification)
            && within(bundle.published_ns, self.after, self.before)
            && (!self.current_only || bundle.verification == wire::Verification::Verified)
    }
}

impl WelcomeFilter {
    /// Would a list with this filter contain this welcome?
    #[must_use]
    pub fn matches(&self, welcome: &Welcome) -> bool {
        self.installation.is_none_or(|wanted| wanted == welcome.installation)
            && within(welcome.published_ns, self.after, self.before)
    }
}

#[cfg(test)]
mod tests;
