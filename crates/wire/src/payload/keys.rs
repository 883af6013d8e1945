//! Keys and bundles, the same for both generations.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::Message as _;

use super::Undecodable;
use crate::proto::message_contents as proto;
use crate::{Address, Verifier};

/// From here on a key's time is nanoseconds, below it is milliseconds: second-generation keys that
/// began in the first generation kept their milliseconds in a field called `created_ns`.
const FIRST_NANOSECONDS: u64 = 1_000_000_000_000_000_000;

/// A public key with its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// The uncompressed point, 65 bytes. Whether it is on the curve is a question of verification.
    pub bytes: Bytes,
    /// When it claims to have been made, in nanoseconds.
    pub created_ns: u64,
    /// R and S (64 bytes) and a recovery byte, as received.
    pub signature: Option<Bytes>,
    /// What the signature is over.
    pub(crate) signed_bytes: Bytes,
    /// The signature claims to be a wallet's.
    pub(crate) says_by_wallet: bool,
}

/// An identity key and the pre-key that it signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyBundle {
    /// Signed by the wallet.
    pub identity_key: PublicKey,
    /// Signed by the identity key.
    pub pre_key: Option<PublicKey>,
}

/// The wallet of a sender or recipient that a header names, recovered from the signature of the identity key, and whether
/// the pre-key is good.
pub(super) fn party(
    role: &str,
    keys: KeyBundle,
    verifier: &Verifier,
) -> Result<(Address, bool), Undecodable> {
    let check = verifier.check(&keys);
    let wallet = check.wallet.ok_or_else(|| {
        Undecodable::because(format_args!("no wallet can be recovered for the {role}"))
    })?;
    Ok((wallet, check.pre_key))
}

impl KeyBundle {
    pub(super) fn from_v1(bundle: proto::PublicKeyBundle) -> Result<Self, Undecodable> {
        Ok(Self {
            identity_key: PublicKey::from_v1(needed("identity key", bundle.identity_key)?)?,
            pre_key: bundle.pre_key.map(PublicKey::from_v1).transpose()?,
        })
    }

    pub(super) fn from_v2(bundle: proto::SignedPublicKeyBundle) -> Result<Self, Undecodable> {
        Ok(Self {
            identity_key: PublicKey::from_v2(needed("identity key", bundle.identity_key)?)?,
            pre_key: bundle.pre_key.map(PublicKey::from_v2).transpose()?,
        })
    }
}

impl PublicKey {
    fn from_v1(key: proto::PublicKey) -> Result<Self, Undecodable> {
        use proto::public_key::Union;
        let Union::Secp256k1Uncompressed(point) = needed("point of a key", key.union)?;
        let bytes = point_of_65(point.bytes)?;
        // What was signed is the raw time, so it is encoded again before anything is converted.
        let signed_bytes = proto::UnsignedPublicKey {
            created_ns: key.timestamp,
            union: Some(proto::unsigned_public_key::Union::Secp256k1Uncompressed(
                proto::unsigned_public_key::Secp256k1Uncompressed { bytes: bytes.clone() },
            )),
        }
        .encode_to_vec();
        Self::new(bytes, key.timestamp, signed_bytes.into(), key.signature)
    }

    fn from_v2(key: proto::SignedPublicKey) -> Result<Self, Undecodable> {
        use proto::unsigned_public_key::Union;
        let unsigned = proto::UnsignedPublicKey::decode(key.key_bytes.clone())
            .map_err(|error| Undecodable::because(format_args!("key bytes: {error}")))?;
        let Union::Secp256k1Uncompressed(point) = needed("point of a key", unsigned.union)?;
        let bytes = point_of_65(point.bytes)?;
        Self::new(bytes, unsigned.created_ns, key.key_bytes, key.signature)
    }

    fn new(
        bytes: Bytes,
        created: u64,
        signed_bytes: Bytes,
        signature: Option<proto::Signature>,
    ) -> Result<Self, Undecodable> {
        use proto::signature::Union;
        let created_ns = match created {
            FIRST_NANOSECONDS.. => created,
            milliseconds => milliseconds.saturating_mul(1_000_000),
        };
        // Most first-generation clients put a wallet's signature into the client's arm, some
        // second-generation ones, too: for wallets the arm means nothing.
        let (signature, says_by_wallet) = match signature.and_then(|signature| signature.union) {
            None => (None, false),
            Some(Union::EcdsaCompact(by)) => (Some(joined(&by.bytes, by.recovery)?), false),
            Some(Union::WalletEcdsaCompact(by)) => (Some(joined(&by.bytes, by.recovery)?), true),
        };
        Ok(Self { bytes, created_ns, signature, signed_bytes, says_by_wallet })
    }
}

fn point_of_65(bytes: Bytes) -> Result<Bytes, Undecodable> {
    match bytes.len() {
        65 => Ok(bytes),
        length => {
            Err(Undecodable::because(format_args!("a public key has {length} bytes, not 65")))
        }
    }
}

fn joined(compact: &Bytes, recovery: u32) -> Result<Bytes, Undecodable> {
    if compact.len() != 64 {
        let length = compact.len();
        return Err(Undecodable::because(format_args!("a signature has {length} bytes, not 64")));
    }
    let mut joined = BytesMut::with_capacity(65);
    joined.put_slice(compact);
    // What does not fit a byte is as wrong as 255.
    joined.put_u8(u8::try_from(recovery).unwrap_or(u8::MAX));
    Ok(joined.freeze())
}

pub(super) fn needed<T>(what: &str, part: Option<T>) -> Result<T, Undecodable> {
    part.ok_or_else(|| Undecodable::because(format_args!("the {what} is missing")))
}

pub(super) fn decoded<T: prost::Message + Default>(
    what: &str,
    bytes: &Bytes,
) -> Result<T, Undecodable> {
    // Decoding Bytes returns slices of the same buffer, no copies.
    T::decode(bytes.clone()).map_err(|error| Undecodable::because(format_args!("{what}: {error}")))
}
