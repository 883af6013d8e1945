//! Checks bundles, and remembers the ones it has checked.

use secp256k1::Secp256k1;
use sha2::{Digest as _, Sha256};

use super::memo::Memo;
use super::recover::{Curve, is_point, recover};
use super::{address_of, eip191_hash, identity_text};
use crate::payload::{KeyBundle, PublicKey};
use crate::{Address, Verification};

/// Checks the signatures of key bundles and remembers the outcome: most headers contain the same few
/// bundles, and seeing one again costs no curve arithmetic. Its memory is bounded. Share one
/// between threads.
pub struct Verifier {
    curve: Curve,
    memo: Memo<Check>,
}

/// What the signatures of a bundle prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// The wallet that signed the identity key.
    pub(crate) wallet: Option<Address>,
    /// The identity key carries a signature, good or bad.
    pub(crate) signed: bool,
    /// There is a pre-key, it is a point of the curve, and the identity key signed it.
    pub(crate) pre_key: bool,
}

impl Check {
    /// The verdict, given whether a wallet has a right to the topic.
    pub(crate) fn verdict(&self, owns: impl FnOnce(Address) -> bool) -> Verification {
        match self.wallet {
            _ if !self.signed => Verification::Unsigned,
            Some(_) if !self.pre_key => Verification::BadSignature,
            Some(wallet) if owns(wallet) => Verification::Verified,
            Some(_) => Verification::WrongOwner,
            None => Verification::BadSignature,
        }
    }
}

impl Verifier {
    /// Remembers about this many bundles.
    pub fn new(capacity: usize) -> Self {
        Self { curve: Secp256k1::verification_only(), memo: Memo::new(capacity) }
    }

    pub(crate) fn check(&self, bundle: &KeyBundle) -> Check {
        self.memo.get_or(fingerprint(bundle), || self.work_out(bundle))
    }

    fn work_out(&self, bundle: &KeyBundle) -> Check {
        let identity = &bundle.identity_key;
        let wallet = identity.signature.as_ref().and_then(|signature| {
            let hash = eip191_hash(identity_text(&identity.signed_bytes).as_bytes());
            recover(&self.curve, hash, signature)
        });
        Check {
            wallet: wallet.map(|key| address_of(&key)),
            signed: identity.signature.is_some(),
            pre_key: bundle.pre_key.as_ref().is_some_and(|key| self.is_signed_by(key, identity)),
        }
    }

    fn is_signed_by(&self, key: &PublicKey, identity: &PublicKey) -> bool {
        let Some(signature) = key.signature.as_ref().filter(|_| !key.says_by_wallet) else {
            return false;
        };
        let hash = Sha256::digest(&key.signed_bytes).into();
        let signer = recover(&self.curve, hash, signature);
        is_point(&key.bytes) && signer.is_some_and(|signer| identity.bytes == signer.as_slice())
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new(65_536)
    }
}

/// Names all that the outcome depends on. A cryptographic hash, since strangers choose the bytes.
fn fingerprint(bundle: &KeyBundle) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: Option<&[u8]>| {
        // Lengths keep neighbours apart; an absent part differs from an empty one.
        let length = bytes.map_or(u64::MAX, |bytes| bytes.len() as u64);
        hash.update(length.to_le_bytes());
        hash.update(bytes.unwrap_or_default());
    };
    for key in [Some(&bundle.identity_key), bundle.pre_key.as_ref()] {
        // The point is a part of the signed bytes.
        part(key.map(|key| key.signed_bytes.as_ref()));
        part(key.and_then(|key| key.signature.as_deref()));
        part(key.filter(|key| key.says_by_wallet).map(|_| [].as_slice()));
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn key(signature: Option<&'static [u8]>) -> PublicKey {
        PublicKey {
            bytes: Bytes::from_static(&[4; 65]),
            created_ns: 0,
            signature: signature.map(Bytes::from_static),
            signed_bytes: Bytes::from_static(b"signed"),
            says_by_wallet: false,
        }
    }

    #[test]
    fn bundles_that_differ_are_not_taken_for_each_other() {
        let plain = KeyBundle { identity_key: key(Some(b"one")), pre_key: Some(key(Some(b"two"))) };
        let with = |change: fn(&mut KeyBundle)| {
            let mut changed = plain.clone();
            change(&mut changed);
            fingerprint(&changed)
        };
        let all = [
            fingerprint(&plain),
            with(|bundle| bundle.pre_key = None),
            with(|bundle| bundle.pre_key = Some(key(None))),
            with(|bundle| bundle.pre_key = Some(key(Some(b"")))),
            with(|bundle| bundle.identity_key.signature = Some(Bytes::from_static(b"onetwo"))),
            with(|bundle| bundle.identity_key.signed_bytes = Bytes::from_static(b"signe")),
            with(|bundle| bundle.pre_key.iter_mut().for_each(|key| key.says_by_wallet = true)),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        // What was only derived from the signed bytes does not matter.
        assert_eq!(with(|bundle| bundle.identity_key.created_ns = 9), fingerprint(&plain));
    }

    #[test]
    fn verdicts() {
        let (owner, other) = (Address::from([1; 20]), Address::from([2; 20]));
        for (wallet, signed, pre_key, expected) in [
            (Some(owner), true, true, Verification::Verified),
            (Some(other), true, true, Verification::WrongOwner),
            (Some(owner), true, false, Verification::BadSignature),
            (Some(other), true, false, Verification::BadSignature),
            (None, true, true, Verification::BadSignature),
            (None, false, true, Verification::Unsigned),
        ] {
            let check = Check { wallet, signed, pre_key };
            assert_eq!(check.verdict(|wallet| wallet == owner), expected, "{check:?}");
        }
    }

    #[test]
    fn is_shared_between_threads() {
        fn shared<T: Send + Sync>() {}
        shared::<Verifier>();
    }
}
