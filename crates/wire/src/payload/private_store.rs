//! A wallet's sealed private keys. Looked at, and nothing kept.

use bytes::Bytes;

use super::Undecodable;
use super::keys::{decoded, needed};
use crate::proto::message_contents as proto;

/// Whether the bytes have the form of a key store, with a wrapper or (from the oldest clients)
/// without.
pub(super) fn check(message: &Bytes) -> Result<(), Undecodable> {
    wrapped(message).or_else(|_| bare(message))
}

fn wrapped(message: &Bytes) -> Result<(), Undecodable> {
    use proto::encrypted_private_key_bundle::Version;
    let store: proto::EncryptedPrivateKeyBundle = decoded("key store", message)?;
    let Version::V1(store) = needed("version", store.version)?;
    complete(&store)
}

fn bare(message: &Bytes) -> Result<(), Undecodable> {
    complete(&decoded("key store", message)?)
}

fn complete(store: &proto::EncryptedPrivateKeyBundleV1) -> Result<(), Undecodable> {
    if store.wallet_pre_key.len() != 32 || store.ciphertext.is_none() {
        return Err(Undecodable::because("a key store has a wallet pre-key and a ciphertext"));
    }
    Ok(())
}
