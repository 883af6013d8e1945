use async_graphql::SimpleObject;
use store::read;

use crate::scalars::{DateTime, Hex};

/// A public key of a contact bundle.
#[derive(SimpleObject)]
pub(crate) struct PublicKey {
    /// The key: 65 bytes, an uncompressed point of secp256k1, where it is a good one.
    bytes: Hex,
    /// When it was made, as it says itself.
    created_at: Option<DateTime>,
    /// The signature on it as it was given: 64 bytes, and one that says how to recover the signer.
    signature: Option<Hex>,
}

impl From<&read::BundleKey> for PublicKey {
    fn from(key: &read::BundleKey) -> Self {
        PublicKey {
            bytes: Hex(key.bytes.clone()),
            created_at: (key.created_ns > 0).then_some(DateTime(key.created_ns)),
            signature: key.signature.clone().map(Hex),
        }
    }
}
