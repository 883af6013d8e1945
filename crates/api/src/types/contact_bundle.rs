use std::collections::BTreeSet;

use store::read::{ContactBundle, Extent, Keys, Source};
use wire::Verification as Verdict;

use super::{
    account::Account,
    envelope,
    words::{Generation, Verification},
};
use crate::{
    error::{Code, Trouble},
    exec::{Call, ID, Statements, Table, object},
    node_id::NodeId,
    paging::connection,
    scalars::DateTime,
};

object!(
    ContactBundle,
    Table::new(
        "ContactBundle",
        "One publication of a wallet's keys: what others need to write to it."
    )
    .implements("Node")
    .member_of("Payload")
    .inline("id", ID, |bundle: &ContactBundle| {
        let Source { digest, .. } = source(bundle)?;
        Ok::<_, Trouble>(NodeId::ContactBundle(digest, bundle.published_ns))
    })
    .inline("account", "The wallet whose contact topic it was published on.", |bundle| {
        Account::at(bundle.account)
    })
    .inline(
        "signer",
        "The wallet that signed the identity key (recovered from the signature).",
        |bundle| keys(bundle).map(|keys| keys.signer.map(Account::at))
    )
    .leaf("version", "V1, wrapped or bare, or V2.", |bundle| Generation::from(bundle.generation))
    .inline("identityKey", "The key that is signed by the wallet and signs the others.", |bundle| {
        keys(bundle).map(|keys| keys.identity.clone())
    })
    .inline("preKey", "The key that conversations begin with.", |bundle| {
        keys(bundle).map(|keys| keys.pre.clone())
    })
    .leaf("verification", "What its signatures prove.", |bundle| {
        Verification::from(bundle.verification)
    })
    .load(
        "current",
        "Is this the one that account.contactBundle returns?",
        Statements::of(1),
        current
    )
    .leaf("publishedAt", "The time of its envelope, by the sender's clock.", |bundle| {
        DateTime(bundle.published_ns)
    })
    .load(
        "envelope",
        "What it came in.",
        Statements::of(1),
        async |call, bundles: &[ContactBundle], _: ()| {
            let sources: Vec<_> = bundles.iter().map(source).collect::<Result<_, _>>()?;
            envelope::at(call, sources.into_iter().map(|source| source.position)).await
        }
    )
);
connection!(ContactBundle, "ContactBundleConnection", "ContactBundleEdge");

/// Plans that show it ask for it; none must look like an empty one.
fn unseen() -> Trouble {
    Trouble::new(Code::Internal, "a part of a bundle was not looked up")
}

fn source(bundle: &ContactBundle) -> Result<Source, Trouble> {
    bundle.source.ok_or_else(unseen)
}

fn keys(bundle: &ContactBundle) -> Result<&Keys, Trouble> {
    bundle.keys.as_deref().ok_or_else(unseen)
}

/// How much of bundles must be read to show this field.
pub(crate) fn extent(field: &str) -> Extent {
    match field {
        "signer" | "identityKey" | "preKey" => Extent::Keys,
        "id" | "current" | "envelope" => Extent::Source,
        _ => Extent::Verdict,
    }
}

async fn current(call: Call<'_>, bundles: &[ContactBundle], _: ()) -> Result<Vec<bool>, Trouble> {
    let verified = |bundle: &&ContactBundle| bundle.verification == Verdict::Verified;
    let accounts: Vec<_> = bundles.iter().filter(verified).map(|bundle| bundle.account).collect();
    let current = call.scope().current_bundles(&accounts).await?;
    let position = |bundle| source(bundle).map(|source| source.position);
    let current: BTreeSet<_> = current.iter().flatten().map(position).collect::<Result<_, _>>()?;
    bundles.iter().map(|bundle| Ok(current.contains(&position(bundle)?))).collect()
}
