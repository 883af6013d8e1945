//! What is new, in the order of the log: what live readers follow. Positions become visible in their own order, so who
//! has read up to one and goes on from there misses nothing and sees nothing twice.

use wire::Address;

use super::{
    ContactBundle, ContactBundleFilter, Envelope, EnvelopeFilter, EnvelopeOrder, Invite,
    InviteFilter, Page, Topic, Welcome, WelcomeFilter, contact_bundles, invites,
    page::{Key, PageRequest, Tie},
    row::Columns,
    snapshot::{HEADS, Heads, Snapshot},
    statement::{Filter, List},
    welcomes,
};
use crate::{database::Store, error::Result, log::Position, time};

/// The order of the log, for tables that are usually sorted by something else.
#[derive(Clone, Copy, Debug)]
struct LogOrder;

/// From behind one position to another, in the order of the log.
fn span(after: Position, upto: Position, limit: u32) -> PageRequest<LogOrder> {
    let at = |position| Some(Key { sort: None, tie: Tie::Position(position) });
    PageRequest {
        after: at(after.0),
        before: at(upto.0.saturating_add(1)),
        ..PageRequest::first(LogOrder, false, limit)
    }
}

impl Store {
    /// How far readers and the log are, without holding the moment.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn heads(&self) -> Result<Heads> {
        let client = self.client().await?;
        let statement = client.prepare_cached(HEADS).await?;
        let row = client.query_one(&statement, &[]).await?;
        Heads::from_columns(&mut Columns::of(&row, 0))
    }
}

impl Store {
    /// Where the present begins, for who follows from now on: what readers see by now is past. While a table is built anew
    /// they see less than before, but what comes back up to where it was is no news.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn present(&self) -> Result<Position> {
        const PRESENT: &str = "
            select greatest(position, (select max(rebuild_to) from derived.watermarks where position < rebuild_to))
              from derived.served";
        let client = self.client().await?;
        let statement = client.prepare_cached(PRESENT).await?;
        Ok(Position(client.query_one(&statement, &[]).await?.get(0)))
    }
}

impl Snapshot {
    /// Envelopes behind `after` and not beyond `upto`, in the order of the log.
    ///
    /// # Errors
    /// When Postgres fails.
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

    /// Invitations whose first copy stands there.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn invites_since(
        &self,
        filter: &InviteFilter,
        after: Position,
        upto: Position,
        limit: u32,
    ) -> Result<Page<Invite>> {
        let list = List { sort: None, tie: "first_position", ..invites::LIST };
        let filter = filter.filter(Filter::default());
        self.page(&list, filter, &span(after, upto, limit), Invite::from_columns).await
    }

    /// Contact bundles that stand there. With `current_only`, those that are current as of this moment.
    ///
    /// # Errors
    /// When Postgres fails.
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

    /// Welcomes that stand there.
    ///
    /// # Errors
    /// When Postgres fails.
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
    /// Must the topic be known to tell whether an envelope matches?
    #[must_use]
    pub fn needs_topic(&self) -> bool {
        self.account.is_some()
    }

    /// Would a list with this filter have this envelope? `topic` is the envelope's own, where it is needed.
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
    /// Would a list with this filter have this invitation?
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
    /// Would a list with this filter have this bundle, but for `current_only`, which takes a look at others?
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
    /// Would a list with this filter have this welcome?
    #[must_use]
    pub fn matches(&self, welcome: &Welcome) -> bool {
        self.installation.is_none_or(|wanted| wanted == welcome.installation)
            && within(welcome.published_ns, self.after, self.before)
    }
}

#[cfg(test)]
mod tests;
