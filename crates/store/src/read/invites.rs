//! Invitations: one row each, however many inboxes hold a copy.

use tokio_postgres::Row;
use uuid::Uuid;
use wire::{Address, Verification};

use super::{
    page::{Key, Keyed, Page, PageRequest, Tie, TieKind, TimeOrder},
    row::Columns,
    snapshot::Snapshot,
    statement::{Branch, Filter, List},
};
use crate::{error::Result, log::Position, time};

/// One invitation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The key of its payload, which all copies share.
    pub id: Uuid,
    /// Who invites, as the header claims.
    pub sender: Address,
    /// Who is invited.
    pub recipient: Address,
    /// When, as the header says.
    pub created_ns: u64,
    /// What the signatures of both bundles say.
    pub verification: Verification,
    /// Is there a copy in the sender's inbox?
    pub delivered_to_sender: bool,
    /// Is there a copy in the recipient's inbox?
    pub delivered_to_recipient: bool,
    /// Where the first copy stands.
    pub first_position: Position,
}

macro_rules! columns {
    () => {
        "id, sender, recipient, created_ns, verification, delivered_to_sender, delivered_to_recipient, first_position"
    };
}

impl Invite {
    pub(super) fn from_row(row: &Row) -> Result<Invite> {
        let mut columns = Columns::of(row, "derived.invites");
        Ok(Invite {
            id: columns.get()?,
            sender: columns.address()?,
            recipient: columns.address()?,
            created_ns: columns.time()?,
            verification: columns.verification()?,
            delivered_to_sender: columns.get()?,
            delivered_to_recipient: columns.get()?,
            first_position: Position(columns.get()?),
        })
    }
}

impl Keyed<TimeOrder> for Invite {
    const TIE: TieKind = TieKind::Uuid;

    fn key(&self, _: TimeOrder) -> Key {
        Key { sort: Some(time::to_db(self.created_ns)), tie: Tie::Uuid(self.id) }
    }
}

/// Which invitations.
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
    pub(super) fn filter(&self, head: Position) -> Filter {
        let mut filter = Filter::default();
        filter.and("first_position <= ?", head.0);
        filter.and_if("sender = ?", self.sender.map(|a| a.as_bytes().to_vec()));
        filter.and_if("recipient = ?", self.recipient.map(|a| a.as_bytes().to_vec()));
        filter.and_if(
            "verification = any(?)",
            self.verification.as_ref().map(|v| v.iter().map(|v| v.code()).collect::<Vec<_>>()),
        );
        filter.and_if("created_ns >= ?", self.after.map(time::to_db));
        filter.and_if("created_ns < ?", self.before.map(time::to_db));
        let mut participants = self.participants.iter().map(|a| a.as_bytes().to_vec());
        // The first decides which indexes are read; the others only sift.
        if let Some(participant) = participants.next() {
            let participant = filter.bind(participant);
            filter.branch(Branch::default().and("sender = ?", participant));
            filter.branch(
                Branch::default().and("recipient = ?", participant).and("sender <> ?", participant),
            );
        }
        for participant in participants {
            filter.and("(sender = ? or recipient = ?)", participant);
        }
        filter
    }
}

pub(super) const LIST: List = List {
    columns: columns!(),
    table: "derived.invites",
    sort: Some("created_ns"),
    nullable: false,
    tie: "id",
    with: None,
};

impl Snapshot {
    /// A page of invitations.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn invites(
        &self,
        filter: &InviteFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Page<Invite>> {
        self.page(&LIST, filter.filter(self.head()), request, Invite::from_row).await
    }

    /// How many invitations.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn count_invites(&self, filter: &InviteFilter) -> Result<u64> {
        self.count(&LIST, filter.filter(self.head())).await
    }

    /// The invitations that have these ids.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn invites_by_id(&self, ids: &[Uuid]) -> Result<Vec<Invite>> {
        self.find(
            concat!(
                "select ",
                columns!(),
                " from derived.invites where id = any($1) and first_position <= $2"
            ),
            vec![Box::new(ids.to_vec()), Box::new(self.head().0)],
            Invite::from_row,
        )
        .await
    }
}
