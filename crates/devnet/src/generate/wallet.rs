//! Wallets and their signed keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use prost::Message as _;
use secp256k1::{Message, PublicKey, Secp256k1, SecretKey, SignOnly};
use sha2::{Digest, Sha256};
use wire::proto::message_contents::{
    ContactBundle, ContactBundleV1, ContactBundleV2, EncryptedPrivateKeyBundle,
    EncryptedPrivateKeyBundleV1, PublicKeyBundle, Signature, SignedPublicKey,
    SignedPublicKeyBundle, contact_bundle, encrypted_private_key_bundle, public_key, signature,
};
use wire::topic::name;
use wire::{Address, address_of};

use super::dice::Dice;

/// An account before it publishes anything: its keys, and the address that follows from them.
pub(super) struct Keys {
    wallet: SecretKey,
    identity: SecretKey,
    pre: SecretKey,
    pub(super) address: Address,
    preferences: [u8; 32],
}

impl Keys {
    pub(super) fn roll(dice: &mut Dice, signer: &Secp256k1<SignOnly>) -> Self {
        let wallet = dice.key();
        Keys {
            address: address_of(&uncompressed(&wallet, signer)),
            wallet,
            identity: dice.key(),
            pre: dice.key(),
            preferences: dice.array(),
        }
    }

    /// Signs the keys, once and for all: the wallet the identity key, that one the pre-key.
    pub(super) fn register(&self, now_ms: u64, signer: &Secp256k1<SignOnly>) -> Wallet {
        let identity = key_bytes(now_ms, &self.identity, signer);
        // Clients make the pre-key right after the wallet has signed.
        let pre = key_bytes(now_ms + 1, &self.pre, signer);
        let text = wire::identity_text(&identity);
        let by_wallet = sign(wire::eip191_hash(text.as_bytes()), &self.wallet, signer);
        let by_identity = sign(Sha256::digest(&pre).into(), &self.identity, signer);
        let v1 = PublicKeyBundle {
            // First-generation clients put the wallet's signature into the arm of client keys.
            identity_key: signed(&identity, by_wallet.as_client()),
            pre_key: signed(&pre, by_identity.as_client()),
        };
        // The very bytes that were signed for the first generation, so that the signatures hold:
        // that is why these keys' times are milliseconds in the second one, too.
        let v2 = SignedPublicKeyBundle {
            identity_key: Some(SignedPublicKey {
                key_bytes: identity,
                signature: Some(by_wallet.as_wallet()),
            }),
            pre_key: Some(SignedPublicKey {
                key_bytes: pre,
                signature: Some(by_identity.as_client()),
            }),
        };
        let contact_v1 =
            contact_bundle::Version::V1(ContactBundleV1 { key_bundle: Some(v1.clone()) });
        let contact_v2 =
            contact_bundle::Version::V2(ContactBundleV2 { key_bundle: Some(v2.clone()) });
        Wallet {
            address: self.address,
            contact_topic: name::contact(self.address).into(),
            contact_v1: ContactBundle { version: Some(contact_v1) }.encode_to_vec().into(),
            contact_v2: ContactBundle { version: Some(contact_v2) }.encode_to_vec().into(),
            intro_topic: name::intro(self.address).into(),
            invite_topic: name::invite(self.address).into(),
            preferences_topic: name::preferences(&URL_SAFE_NO_PAD.encode(self.preferences)).into(),
            v1,
            v2,
        }
    }
}

/// A registered account, with the payloads that it publishes repeatedly.
pub(super) struct Wallet {
    pub(super) address: Address,
    pub(super) contact_topic: Bytes,
    pub(super) contact_v1: Bytes,
    pub(super) contact_v2: Bytes,
    pub(super) intro_topic: Bytes,
    pub(super) invite_topic: Bytes,
    pub(super) preferences_topic: Bytes,
    pub(super) v1: PublicKeyBundle,
    pub(super) v2: SignedPublicKeyBundle,
}

impl Wallet {
    /// Its keys, sealed for itself: what clients store when they register.
    pub(super) fn private_store(&self, dice: &mut Dice) -> (Bytes, Bytes) {
        let bundle = EncryptedPrivateKeyBundleV1 {
            wallet_pre_key: dice.bytes(32),
            ciphertext: Some(dice.sealed(388)),
        };
        let version = Some(encrypted_private_key_bundle::Version::V1(bundle));
        let payload = EncryptedPrivateKeyBundle { version }.encode_to_vec();
        (name::private_store(self.address).into(), payload.into())
    }
}

fn uncompressed(key: &SecretKey, signer: &Secp256k1<SignOnly>) -> [u8; 65] {
    PublicKey::from_secret_key(signer, key).serialize_uncompressed()
}

/// A key without its signature: the bytes that are signed.
fn key_bytes(created_ms: u64, key: &SecretKey, signer: &Secp256k1<SignOnly>) -> Bytes {
    let bytes = Bytes::copy_from_slice(&uncompressed(key, signer));
    wire::proto::message_contents::PublicKey {
        timestamp: created_ms,
        signature: None,
        union: Some(public_key::Union::Secp256k1Uncompressed(public_key::Secp256k1Uncompressed {
            bytes,
        })),
    }
    .encode_to_vec()
    .into()
}

/// The same key with a signature.
fn signed(key: &Bytes, signature: Signature) -> Option<wire::proto::message_contents::PublicKey> {
    // What was encoded above decodes.
    let mut key = wire::proto::message_contents::PublicKey::decode(key.clone()).ok()?;
    key.signature = Some(signature);
    Some(key)
}

struct Made {
    bytes: Bytes,
    recovery: u32,
}

impl Made {
    fn as_client(&self) -> Signature {
        let (bytes, recovery) = (self.bytes.clone(), self.recovery);
        let arm = signature::Union::EcdsaCompact(signature::EcdsaCompact { bytes, recovery });
        Signature { union: Some(arm) }
    }

    fn as_wallet(&self) -> Signature {
        let (bytes, recovery) = (self.bytes.clone(), self.recovery);
        let arm =
            signature::Union::WalletEcdsaCompact(signature::WalletEcdsaCompact { bytes, recovery });
        Signature { union: Some(arm) }
    }
}

fn sign(hash: [u8; 32], key: &SecretKey, signer: &Secp256k1<SignOnly>) -> Made {
    let (recovery, bytes) =
        signer.sign_ecdsa_recoverable(Message::from_digest(hash), key).serialize_compact();
    // 0 or 1 but for a few in 2^127 signatures, whose points are too large to be named so.
    let recovery = i32::from(recovery).unsigned_abs();
    Made { bytes: Bytes::copy_from_slice(&bytes), recovery }
}
