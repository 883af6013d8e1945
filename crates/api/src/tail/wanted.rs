//! What a reader follows, and the rows that are told.

use store::{
    Position,
    read::{
        ContactBundle, ContactBundleFilter, Envelope, EnvelopeFilter, Followed, Invite,
        InviteFilter, Snapshot, Topic, Welcome, WelcomeFilter,
    },
};

/// What a reader follows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wanted {
    Envelopes(EnvelopeFilter),
    Invites(InviteFilter),
    ContactBundles(ContactBundleFilter),
    Welcomes(WelcomeFilter),
    Status,
}

/// A row that is told.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    Envelope(Envelope),
    Invite(Invite),
    ContactBundle(ContactBundle),
    Welcome(Welcome),
    Status,
}

impl Item {
    /// Where it stands.
    pub(crate) fn position(&self) -> Option<Position> {
        match self {
            Item::Envelope(row) => Some(row.position),
            Item::Invite(row) => Some(row.position()),
            Item::ContactBundle(row) => Some(row.position()),
            Item::Welcome(row) => Some(row.position),
            Item::Status => None,
        }
    }

    /// Bytes that telling it may take to look up.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Item::Envelope(row) => usize::try_from(row.size).unwrap_or(0),
            _ => 1 << 10,
        }
    }
}

/// What the arguments of a subscription ask for.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) wanted: Wanted,
    /// A cursor, as it was given.
    pub(crate) after: Option<String>,
}

/// The same, with the position that the cursor means.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) wanted: Wanted,
    pub(crate) after: Option<Position>,
}

/// What is new in a span of the log. The span of each table is its own: a table that is stale is not followed beyond what
/// it has.
#[derive(Debug)]
pub(crate) struct Span {
    /// Rows behind these positions,
    pub(crate) from: Followed,
    /// up to these.
    pub(crate) upto: Followed,
    /// With the topic, where somebody asked for it.
    pub(crate) envelopes: Vec<(Envelope, Option<Topic>)>,
    pub(crate) invites: Vec<Invite>,
    pub(crate) contact_bundles: Vec<ContactBundle>,
    pub(crate) welcomes: Vec<Welcome>,
    /// Were the topics looked up?
    pub(crate) topics: bool,
}

impl Wanted {
    /// Does a span have all that is needed to tell who wants it?
    pub(crate) fn is_answered_by(&self, span: &Span) -> bool {
        match self {
            Wanted::Envelopes(filter) => span.topics || !filter.needs_topic(),
            // What is current is a question about others.
            Wanted::ContactBundles(filter) => {
                !filter.current_only || span.contact_bundles.is_empty()
            }
            Wanted::Invites(_) | Wanted::Welcomes(_) | Wanted::Status => true,
        }
    }

    /// The position of the table that it is about.
    pub(crate) fn of(&self, followed: &Followed) -> Position {
        match self {
            Wanted::Envelopes(_) | Wanted::Status => followed.envelopes,
            Wanted::Invites(_) => followed.invites,
            Wanted::ContactBundles(_) => followed.contact_bundles,
            Wanted::Welcomes(_) => followed.welcomes,
        }
    }

    /// Must topics be looked up for it?
    pub(crate) fn needs_topics(&self) -> bool {
        matches!(self, Wanted::Envelopes(filter) if filter.needs_topic())
    }

    /// The rows of a span that are wanted.
    pub(crate) fn pick(&self, span: &Span) -> Vec<Item> {
        match self {
            Wanted::Envelopes(filter) => span
                .envelopes
                .iter()
                .filter(|(row, topic)| filter.matches(row, topic.as_ref()))
                .map(|(row, _)| Item::Envelope(row.clone()))
                .collect(),
            Wanted::Invites(filter) => span
                .invites
                .iter()
                .filter(|row| filter.matches(row))
                .cloned()
                .map(Item::Invite)
                .collect(),
            Wanted::ContactBundles(filter) => span
                .contact_bundles
                .iter()
                .filter(|row| filter.matches(row))
                .cloned()
                .map(Item::ContactBundle)
                .collect(),
            Wanted::Welcomes(filter) => span
                .welcomes
                .iter()
                .filter(|row| filter.matches(row))
                .cloned()
                .map(Item::Welcome)
                .collect(),
            Wanted::Status => Vec::new(),
        }
    }

    /// The rows behind `after` and up to `upto`, read from the database; and how far that speaks for.
    pub(crate) async fn read(
        &self,
        snapshot: &Snapshot,
        after: Position,
        upto: Position,
        limit: u32,
    ) -> store::Result<(Vec<Item>, Position)> {
        let upto = upto.min(self.of(&snapshot.followed().await?));
        if upto <= after {
            return Ok((Vec::new(), after));
        }
        let (items, more): (Vec<Item>, bool) = match self {
            Wanted::Envelopes(filter) => {
                let page = snapshot.envelopes_since(filter, after, upto, limit).await?;
                (page.rows.into_iter().map(Item::Envelope).collect(), page.has_more)
            }
            Wanted::Invites(filter) => {
                let page = snapshot.invites_since(filter, after, upto, limit).await?;
                (page.rows.into_iter().map(Item::Invite).collect(), page.has_more)
            }
            Wanted::ContactBundles(filter) => {
                let page = snapshot.contact_bundles_since(filter, after, upto, limit).await?;
                (page.rows.into_iter().map(Item::ContactBundle).collect(), page.has_more)
            }
            Wanted::Welcomes(filter) => {
                let page = snapshot.welcomes_since(filter, after, upto, limit).await?;
                (page.rows.into_iter().map(Item::Welcome).collect(), page.has_more)
            }
            Wanted::Status => (Vec::new(), false),
        };
        let last = items.last().and_then(Item::position);
        Ok((items, last.filter(|_| more).unwrap_or(upto)))
    }
}
