use async_graphql::{Context, Description, ID, Object, Result};
use store::read;

use super::{account::Account, envelope::Envelope, words::Verification};
use crate::{
    node_id::NodeId,
    scalars::DateTime,
    scope::{CopiesOf, asked},
};

/// One invitation, however many inboxes hold a copy of it.
#[derive(Description)]
pub(crate) struct Invite(read::Invite);

impl From<read::Invite> for Invite {
    fn from(row: read::Invite) -> Self {
        Invite(row)
    }
}

#[Object(use_type_description = true)]
impl Invite {
    /// Stable across rebuilds of the index.
    pub(crate) async fn id(&self) -> ID {
        NodeId::Invite(self.0.id).encode()
    }

    /// Claimed by the header: bundles are public, so a header proves that both identities exist, not who wrote it.
    async fn sender(&self) -> Account {
        Account::at(self.0.sender)
    }

    /// Who is invited, as the header says.
    async fn recipient(&self) -> Account {
        Account::at(self.0.recipient)
    }

    /// When, as the header says.
    async fn created_at(&self) -> DateTime {
        DateTime(self.0.created_ns)
    }

    /// What the signatures of both parties' bundles prove.
    async fn verification(&self) -> Verification {
        self.0.verification.into()
    }

    /// The copies: usually one in each inbox. Of very many only the first 100 in the order of indexing.
    async fn envelopes(&self, ctx: &Context<'_>) -> Result<Vec<Envelope>> {
        let copies = asked(ctx)?.load(CopiesOf(self.0.id)).await?.unwrap_or_default();
        Ok(copies.into_iter().map(Envelope::from).collect())
    }

    /// Is there a copy in the sender's inbox?
    async fn delivered_to_sender(&self) -> bool {
        self.0.delivered_to_sender
    }

    /// Is there a copy in the recipient's inbox?
    async fn delivered_to_recipient(&self) -> bool {
        self.0.delivered_to_recipient
    }
}
