//! What signatures prove.

use std::fmt::Write as _;

use sha3::{Digest as _, Keccak256};

use crate::Address;

mod memo;
mod recover;
mod verifier;

pub use verifier::Verifier;

/// Keccak-256 as Ethereum has it (not SHA3-256).
pub fn keccak256(bytes: &[u8]) -> [u8; 32] {
    Keccak256::digest(bytes).into()
}

/// The address of an uncompressed public key (`04`, X, Y).
pub fn address_of(uncompressed_key: &[u8; 65]) -> Address {
    let hash = keccak256(&uncompressed_key[1..]);
    let mut address = [0; 20];
    address.copy_from_slice(&hash[12..]);
    Address::from(address)
}

/// The text that a wallet signs to claim an identity key. `key_bytes` are the key's
/// serialised form without its signature.
pub fn identity_text(key_bytes: &[u8]) -> String {
    let key = hex::encode(key_bytes);
    format!("XMTP : Create Identity\n{key}\n\nFor more info: https://xmtp.org/signatures/")
}

/// The digest that a wallet signs when it signs a text.
pub fn eip191_hash(text: &[u8]) -> [u8; 32] {
    let mut head = String::from("\u{19}Ethereum Signed Message:\n");
    // Writing to a String cannot fail.
    let _ = write!(head, "{}", text.len());
    Keccak256::new().chain_update(head).chain_update(text).finalize().into()
}
