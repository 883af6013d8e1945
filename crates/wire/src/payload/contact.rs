//! Contact bundles: how to write to a wallet.

use bytes::Bytes;

use super::keys::{decoded, needed};
use super::{KeyBundle, Undecodable};
use crate::proto::message_contents as proto;
use crate::{Address, Generation, Verification, Verifier};

/// How a bundle was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BundleForm {
    /// Without a wrapper, as the oldest clients did.
    Bare,
    /// First-generation keys in the wrapper.
    V1,
    /// Second-generation keys in the wrapper.
    V2,
}

/// What a contact topic holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContactBundle {
    /// How it was published.
    pub form: BundleForm,
    /// Of its keys.
    pub generation: Generation,
    /// The account's keys.
    pub keys: KeyBundle,
    /// The wallet that signed the identity key, which may be any wallet.
    pub signer: Option<Address>,
    /// What the signatures prove about the topic's owner.
    pub verification: Verification,
}

pub(super) fn decode(
    owner: Address,
    message: &Bytes,
    verifier: &Verifier,
) -> Result<ContactBundle, Undecodable> {
    // Both forms begin with the same tag. What counts is what is inside, not whether a decoder
    // happens to stumble over the other one.
    let (form, keys) = wrapped(message).or_else(|as_wrapped| {
        bare(message).map_err(|as_bare| {
            Undecodable::because(format_args!("no contact bundle: {as_wrapped}; bare: {as_bare}"))
        })
    })?;
    let check = verifier.check(&keys);
    Ok(ContactBundle {
        form,
        generation: if form == BundleForm::V2 { Generation::V2 } else { Generation::V1 },
        keys,
        signer: check.wallet,
        verification: check.verdict(|wallet| wallet == owner),
    })
}

fn wrapped(message: &Bytes) -> Result<(BundleForm, KeyBundle), Undecodable> {
    use proto::contact_bundle::Version;
    let bundle: proto::ContactBundle = decoded("contact bundle", message)?;
    Ok(match needed("version", bundle.version)? {
        Version::V1(v1) => {
            (BundleForm::V1, KeyBundle::from_v1(needed("key bundle", v1.key_bundle)?)?)
        }
        Version::V2(v2) => {
            (BundleForm::V2, KeyBundle::from_v2(needed("key bundle", v2.key_bundle)?)?)
        }
    })
}

fn bare(message: &Bytes) -> Result<(BundleForm, KeyBundle), Undecodable> {
    let bundle: proto::PublicKeyBundle = decoded("key bundle", message)?;
    Ok((BundleForm::Bare, KeyBundle::from_v1(bundle)?))
}
