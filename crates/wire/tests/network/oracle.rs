//! A second implementation of the curve must agree with the one we use.

use bytes::Bytes;
use k256::ecdsa::{RecoveryId, Signature, SigningKey, VerifyingKey};
use proptest::prelude::*;
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use wire::proto::message_contents as proto;
use wire::topic::name;
use wire::verify::{address_of, eip191_hash, identity_text};
use wire::{Address, ContactBundle, Payload, Verification, read};

use crate::material::{VECTORS, VERIFIER, bytes, text};

/// Recovers as the other library wants it: low S only, so a high one is turned and its bit with it.
fn recovered(hash: [u8; 32], compact: &[u8], recovery: u8) -> Option<[u8; 65]> {
    let mut signature = Signature::from_slice(compact).ok()?;
    let mut recovery = RecoveryId::from_byte(recovery)?;
    if let Some(low) = signature.normalize_s() {
        signature = low;
        recovery = RecoveryId::from_byte(recovery.to_byte() ^ 1)?;
    }
    let key = VerifyingKey::recover_from_prehash(&hash, &signature, recovery).ok()?;
    Some(uncompressed(&key))
}

fn uncompressed(key: &VerifyingKey) -> [u8; 65] {
    key.to_encoded_point(false).as_bytes().try_into().unwrap()
}

fn key(point: [u8; 65], timestamp: u64) -> proto::PublicKey {
    let bytes = Bytes::copy_from_slice(&point);
    let point = proto::public_key::Secp256k1Uncompressed { bytes };
    let union = Some(proto::public_key::Union::Secp256k1Uncompressed(point));
    proto::PublicKey { timestamp, signature: None, union }
}

fn signed(mut key: proto::PublicKey, compact: &[u8], recovery: u8) -> proto::PublicKey {
    let compact = proto::signature::EcdsaCompact {
        bytes: Bytes::copy_from_slice(compact),
        recovery: recovery.into(),
    };
    let union = Some(proto::signature::Union::EcdsaCompact(compact));
    key.signature = Some(proto::Signature { union });
    key
}

fn wallet_hash(key: &proto::PublicKey) -> [u8; 32] {
    eip191_hash(identity_text(&key.encode_to_vec()).as_bytes())
}

fn sign(by: &SigningKey, hash: [u8; 32]) -> (Vec<u8>, u8) {
    let (signature, recovery) = by.sign_prehash_recoverable(&hash).unwrap();
    (signature.to_bytes().to_vec(), recovery.to_byte())
}

/// The same signature with the other S.
fn turned((mut compact, recovery): (Vec<u8>, u8)) -> (Vec<u8>, u8) {
    let signature = Signature::from_slice(&compact).unwrap();
    let high = -*signature.s();
    compact[32..].copy_from_slice(&high.to_bytes());
    (compact, recovery ^ 1)
}

fn published(
    owner: Address,
    identity: proto::PublicKey,
    pre_key: Option<proto::PublicKey>,
) -> ContactBundle {
    let bundle = proto::PublicKeyBundle { identity_key: Some(identity), pre_key };
    let message = Bytes::from(bundle.encode_to_vec());
    match read(&name::contact(owner), 0, &message, &VERIFIER).payload.unwrap() {
        Payload::ContactBundle(contact) => *contact,
        other => panic!("{other:?}"),
    }
}

#[test]
fn both_recover_the_vectors() {
    for who in ["alice", "bob"] {
        for form in ["v1", "v2"] {
            let recovery = |role: &str| {
                let value = &VECTORS[who][format!("{form}_{role}_recovery")];
                u8::try_from(value.as_u64().unwrap()).unwrap()
            };
            let hash = bytes(&format!("{who}/{form}_identity_eip191_hash"));
            let signature = bytes(&format!("{who}/{form}_identity_signature"));
            let hash = hash.as_ref().try_into().unwrap();
            let wallet = recovered(hash, &signature, recovery("identity")).unwrap();
            assert_eq!(address_of(&wallet).to_string(), text(&format!("{who}/wallet_address")));

            let hash = bytes(&format!("{who}/{form}_prekey_sha256"));
            let signature = bytes(&format!("{who}/{form}_prekey_signature"));
            let hash = hash.as_ref().try_into().unwrap();
            let identity = recovered(hash, &signature, recovery("prekey")).unwrap();
            assert_eq!(identity.as_slice(), bytes(&format!("{who}/identity_public_key")));
        }
    }
    let bad = bytes("variants/contact_bundle_v2_bad_prekey");
    let bundle = proto::ContactBundle::decode(bad).unwrap();
    let Some(proto::contact_bundle::Version::V2(v2)) = bundle.version else { panic!() };
    let pre_key = v2.key_bundle.unwrap().pre_key.unwrap();
    let union = pre_key.signature.unwrap().union;
    let Some(proto::signature::Union::EcdsaCompact(compact)) = union else { panic!() };
    let hash = Sha256::digest(&pre_key.key_bytes).into();
    let signer = recovered(hash, &compact.bytes, u8::try_from(compact.recovery).unwrap()).unwrap();
    assert_eq!(signer.as_slice(), bytes("variants/bad_prekey_recovers_to"));
}

fn secret() -> impl Strategy<Value = SigningKey> {
    any::<[u8; 32]>().prop_filter_map("not a key", |secret| SigningKey::from_slice(&secret).ok())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_one_signs_the_other_verifies(
        wallet in secret(), identity in secret(), pre_key in secret(), time: u64,
        high_wallet: bool, high_identity: bool, offset in prop_oneof![Just(0), Just(27)],
    ) {
        let owner = address_of(&uncompressed(wallet.verifying_key()));
        let identity_key = key(uncompressed(identity.verifying_key()), time);
        let mut signature = sign(&wallet, wallet_hash(&identity_key));
        if high_wallet {
            signature = turned(signature);
        }
        let identity_key = signed(identity_key, &signature.0, signature.1 + offset);

        let pre_key = key(uncompressed(pre_key.verifying_key()), time);
        let hash = Sha256::digest(pre_key.encode_to_vec()).into();
        let mut by_identity = sign(&identity, hash);
        if high_identity {
            by_identity = turned(by_identity);
        }
        let good = signed(pre_key.clone(), &by_identity.0, by_identity.1);
        let contact = published(owner, identity_key.clone(), Some(good));
        prop_assert_eq!(contact.verification, Verification::Verified);
        prop_assert_eq!(contact.signer, Some(owner));

        // The right signature, but said to be a wallet's.
        let mut misplaced = pre_key.clone();
        let compact = proto::signature::WalletEcdsaCompact {
            bytes: by_identity.0.into(),
            recovery: by_identity.1.into(),
        };
        let union = Some(proto::signature::Union::WalletEcdsaCompact(compact));
        misplaced.signature = Some(proto::Signature { union });

        // Signed by the wallet instead of the identity key, and not at all.
        let by_wallet = sign(&wallet, hash);
        let bad = signed(pre_key.clone(), &by_wallet.0, by_wallet.1);
        for pre_key in [Some(misplaced), Some(bad), Some(pre_key), None] {
            let contact = published(owner, identity_key.clone(), pre_key);
            prop_assert_eq!(contact.verification, Verification::BadSignature);
            prop_assert_eq!(contact.signer, Some(owner));
        }
    }

    /// Any 64 bytes: both find the same wallet, or none.
    #[test]
    fn both_recover_the_same_from_anything(
        identity in secret(), time: u64, r: [u8; 32], s: [u8; 32], recovery in 0..2u8,
    ) {
        let identity_key = key(uncompressed(identity.verifying_key()), time);
        let compact = [r, s].concat();
        let expected = recovered(wallet_hash(&identity_key), &compact, recovery);
        let expected = expected.map(|key| address_of(&key));
        let owner = Address::from([7; 20]);
        let contact = published(owner, signed(identity_key, &compact, recovery), None);
        prop_assert_eq!(contact.signer, expected);
    }
}
