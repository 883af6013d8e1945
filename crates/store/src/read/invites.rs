//! Invitations: one row each, however many inboxes hold a copy.

use uuid::Uuid;
use wire::{Address, Verification};

use super::{
    page::{Key, Keyed, Page, PageRequest, TieBreaker, TieBreakerKind, TimeOrder},
    row::Columns,
    snapshot::Snapshot,
    statement::{Branch, Filter, List, Slot},
};
use crate::{error::Result, log::Position, time};

/// One invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The key of its payload, which all copies share.
    pub id: Uuid,
    /// The sender, as the header claims.
    pub sender: Address,
    /// The time in the header.
    pub created_ns: u64,
    /// What the signatures of both bundles prove.
    pub verification: Verification,
    /// The inboxes that it went to; None when it was read without.
    pub delivery: Option<Delivery>,
}

/// The inboxes that an invitation went to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The wallet that is invited.
    pub recipient: Address,
    /// Is there a copy in the sender's inbox?
    pub to_sender: bool,
    /// Is there a copy in the recipient's inbox?
    pub to_recipient: bool,
    /// The position of the first copy.
    pub first_position: Position,
}

macro_rules! without_delivery {
    () => {
        "id, sender, created_ns, verification"
    };
}
macro_rules! columns {
    () => {
        concat!(
            without_delivery!(),
            ", recipient, delivered_to_sender, delivered_to_recipient, first_position"
        )
    };
}

impl Invite {
    pub(super) fn from_columns(columns: &mut Columns<'_>) -> Result<Invite> {
        Invite::with(columns, true)
    }

    /// From the columns of [`LIST`], or those of [`WITHOUT_DELIVERY`].
    pub(super) fn with(columns: &mut Columns<'_>, delivery: bool) -> Result<Invite> {
        columns.table("derived.invites");
        Ok(Invite {
            id: columns.get()?,
            sender: columns.address()?,
            created_ns: columns.time()?,
            verification: columns.verification()?,
            delivery: if delivery { Some(Delivery::from_columns(columns)?) } else { None },
        })
    }

    /// The wallet that is invited; None when the delivery was not read.
    #[must_use]
    pub fn recipient(&self) -> Option<Address> {
        self.delivery.map(|delivery| delivery.recipient)
    }

    /// The position of the first copy; 0 when the delivery was not read.
    #[must_use]
    pub fn position(&self) -> Position {
        self.delivery.map_or(Position(0), |delivery| delivery.first_position)
    }
}

impl Delivery {
    fn from_columns(columns: &mut Columns<'_>) -> Result<Delivery> {
        Ok(Delivery {
            recipient: columns.address()?,
            to_sender: columns.get()?,
            to_recipient: columns.get()?,
            first_position: Position(columns.get()?),
        })
    }
}

impl Keyed<TimeOrder> for Invite {
    const TIE_BREAKER: TieBreakerKind = TieBreakerKind::Uuid;

    fn key(&self, _: TimeOrder) -> Key {
        Key { sort: Some(time::to_db(self.created_ns)), tie_breaker: TieBreaker::Uuid(self.id) }
    }
}

/// A filter of invitations; its fields add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InviteFilter {
    /// Each of these is the sender or the recipient.
    pub participants: Vec<Address>,
    /// Sent by.
    pub sender: Option<Address>,
    /// Sent to.
    pub recipient: Option<Address>,
    /// With one of these verdicts.
    pub verification: Option<Vec<Verification>>,
    /// Made at this time or later.
    pub after: Option<u64>,
    /// Made before this time.
    pub before: Option<u64>,
}

impl InviteFilter {
    pub(super) fn filter(&self, mut filter: Filter) -> Filter {
        filter.and_if("sender = ?", self.sender);
        filter.and_if("recipient = ?", self.recipient);
        filter.and_if(
            "verification = any(?)",
            self.verification.as_ref().map(|v| v.iter().map(|v| v.code()).collect::<Vec<_>>()),
        );
        filter.and_if("created_ns >= ?", self.after.map(time::to_db));
        filter.and_if("created_ns < ?", self.before.map(time::to_db));
        let participants: Vec<Slot> =
            self.participants.iter().map(|participant| filter.bind(*participant)).collect();
        let mut participants = filter.parent().into_iter().chain(participants);
        // The first decides which indexes are read; the others only filter their rows.
        if let Some(participant) = participants.next() {
            filter.branch(Branch::default().and("sender = ?", participant));
            filter.branch(
                Branch::default().and("recipient = ?", participant).and("sender <> ?", participant),
            );
        }
        for participant in participants {
            filter.fill("(sender = ? or recipient = ?)", participant);
        }
        filter
    }
}

/// The columns of a page without deliveries.
pub(super) const WITHOUT_DELIVERY: &str = without_delivery!();

pub(super) const LIST: List = List {
    columns: columns!(),
    table: "derived.invites",
    sort: Some("created_ns"),
    nullable: false,
    tie_breaker: "id",
    total: Some("invites"),
    with: None,
};

impl Snapshot {
    /// A page of invitations.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn invites(
        &self,
        filter: &InviteFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Page<Invite>> {
        self.page(&LIST, filter.filter(Filter::default()), request, Invite::from_columns).await
    }

    /// The number of invitations.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_invites(&self, filter: &InviteFilter) -> Result<u64> {
        self.count(&LIST, filter.filter(Filter::default())).await
    }

    /// A page of the invitations that each of these wallets sent or got, in their order: at most a page and one row a wallet
    /// are read.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn invites_of(
        &self,
        participants: &[Address],
        filter: &InviteFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Vec<Page<Invite>>> {
        let conditions = filter.filter(Filter::under(participants));
        self.pages(&LIST, conditions, request, Invite::from_columns).await
    }

    /// The number of invitations that each of these wallets sent or got, in their order.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_invites_of(
        &self,
        participants: &[Address],
        filter: &InviteFilter,
    ) -> Result<Vec<u64>> {
        self.counts(&LIST, filter.filter(Filter::under(participants))).await
    }

    /// The invitations that have these ids.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn invites_by_id(&self, ids: &[Uuid]) -> Result<Vec<Invite>> {
        self.find_by(
            concat!("select ", columns!(), " from derived.invites where id {is}"),
            ids,
            Vec::new(),
            Invite::from_columns,
        )
        .await
    }
}
