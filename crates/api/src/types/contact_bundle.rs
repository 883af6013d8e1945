use store::read::ContactBundle;
use wire::Verification as Verdict;

use super::{
    account::Account,
    envelope,
    words::{Generation, Verification},
};
use crate::{
    error::Trouble,
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
    .leaf("id", ID, |bundle: &ContactBundle| {
        NodeId::ContactBundle(bundle.digest, bundle.published_ns).encode()
    })
    .inline("account", "The wallet whose contact topic it was published on.", |bundle| {
        Account::at(bundle.account)
    })
    .inline(
        "signer",
        "The wallet that signed the identity key (recovered from the signature).",
        |bundle| bundle.signer.map(Account::at)
    )
    .leaf("version", "V1, wrapped or bare, or V2.", |bundle| Generation::from(bundle.generation))
    .inline("identityKey", "The key that is signed by the wallet and signs the others.", |bundle| {
        bundle.identity_key.clone()
    })
    .inline("preKey", "The key that conversations begin with.", |bundle| bundle.pre_key.clone())
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
            envelope::at(call, bundles.iter().map(|bundle| bundle.position)).await
        }
    )
);
connection!(ContactBundle, "ContactBundleConnection", "ContactBundleEdge");

async fn current(call: Call<'_>, bundles: &[ContactBundle], _: ()) -> Result<Vec<bool>, Trouble> {
    let verified = |bundle: &&ContactBundle| bundle.verification == Verdict::Verified;
    let accounts: Vec<_> = bundles.iter().filter(verified).map(|bundle| bundle.account).collect();
    let current = call.scope().current_bundles(&accounts).await?;
    let is_current = |bundle: &ContactBundle| {
        let current = current.get(&bundle.account).and_then(Option::as_ref);
        current.is_some_and(|current| current.position == bundle.position)
    };
    Ok(bundles.iter().map(is_current).collect())
}
