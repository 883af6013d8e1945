use store::read::BundleKey;

use crate::{
    exec::{Table, object},
    scalars::{DateTime, Hex},
};

object!(
    BundleKey,
    Table::new("PublicKey", "A public key of a contact bundle.")
        .leaf(
            "bytes",
            "The key: 65 bytes, an uncompressed point of secp256k1, where it is a good one.",
            |key: &BundleKey| Hex(key.bytes.clone())
        )
        .leaf("createdAt", "When it was made, as it says itself.", |key| {
            (key.created_ns > 0).then_some(DateTime(key.created_ns))
        })
        .leaf(
            "signature",
            "The signature on it as it was given: 64 bytes, and one that says how to recover the signer.",
            |key| key.signature.clone().map(Hex)
        )
);
