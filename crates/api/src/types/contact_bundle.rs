use async_graphql::{Context, Description, ID, Object, Result};
use store::read;

use super::{
    account::Account,
    envelope::Envelope,
    public_key::PublicKey,
    words::{Generation, Verification},
};
use crate::{
    node_id::NodeId,
    scalars::DateTime,
    scope::{CurrentBundle, asked},
};

/// One publication of a wallet's keys: what others need to write to it.
#[derive(Description)]
pub(crate) struct ContactBundle(read::ContactBundle);

impl From<read::ContactBundle> for ContactBundle {
    fn from(row: read::ContactBundle) -> Self {
        ContactBundle(row)
    }
}

#[Object(use_type_description = true)]
impl ContactBundle {
    /// Stable across rebuilds of the index.
    pub(crate) async fn id(&self) -> ID {
        NodeId::ContactBundle(self.0.digest, self.0.published_ns).encode()
    }

    /// The wallet whose contact topic it was published on.
    async fn account(&self) -> Account {
        Account::at(self.0.account)
    }

    /// The wallet that signed the identity key (recovered from the signature).
    async fn signer(&self) -> Option<Account> {
        self.0.signer.map(Account::at)
    }

    /// V1, wrapped or bare, or V2.
    async fn version(&self) -> Generation {
        self.0.generation.into()
    }

    /// The key that is signed by the wallet and signs the others.
    async fn identity_key(&self) -> PublicKey {
        PublicKey::from(&self.0.identity_key)
    }

    /// The key that conversations begin with.
    async fn pre_key(&self) -> Option<PublicKey> {
        self.0.pre_key.as_ref().map(PublicKey::from)
    }

    /// What its signatures prove.
    async fn verification(&self) -> Verification {
        self.0.verification.into()
    }

    /// Is this the one that account.contactBundle returns?
    async fn current(&self, ctx: &Context<'_>) -> Result<bool> {
        if self.0.verification != wire::Verification::Verified {
            return Ok(false);
        }
        let current = asked(ctx)?.load(CurrentBundle(self.0.account)).await?;
        Ok(current.is_some_and(|current| current.position == self.0.position))
    }

    /// The time of its envelope, by the sender's clock.
    async fn published_at(&self) -> DateTime {
        DateTime(self.0.published_ns)
    }

    /// What it came in.
    async fn envelope(&self, ctx: &Context<'_>) -> Result<Envelope> {
        Envelope::at(ctx, self.0.position).await
    }
}
