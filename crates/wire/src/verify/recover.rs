//! Recovers the key that made a signature.

use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, Secp256k1, VerifyOnly};

/// The curve with the tables for verification.
pub(super) type Curve = Secp256k1<VerifyOnly>;

/// The uncompressed key that made a signature (R, S and a recovery byte), if there is one.
///
/// Any well-formed signature leads to *some* key: callers must compare it with the expected one.
/// A high S is taken as it is, with its own recovery bit. 27 and 28 are the recovery bits of
/// Ethereum's tools; anything else but 0 and 1 is refused, although the curve knows 2 and 3.
pub(super) fn recover(curve: &Curve, hash: [u8; 32], signature: &[u8]) -> Option<[u8; 65]> {
    let (&recovery, compact) = signature.split_last()?;
    let recovery = match recovery {
        0 | 27 => RecoveryId::Zero,
        1 | 28 => RecoveryId::One,
        _ => return None,
    };
    // Refuses other lengths than 64.
    let signature = RecoverableSignature::from_compact(compact, recovery).ok()?;
    let key = curve.recover_ecdsa(Message::from_digest(hash), &signature).ok()?;
    Some(key.serialize_uncompressed())
}

/// Whether 65 bytes are a point of the curve in its uncompressed form.
pub(super) fn is_point(bytes: &[u8]) -> bool {
    // The library would also take the hybrid forms 06 and 07, which no client does.
    bytes.len() == 65 && bytes.first() == Some(&4) && PublicKey::from_slice(bytes).is_ok()
}
