//! Seeded chance: everything random about the traffic comes from here.

use bytes::{Bytes, BytesMut};
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use secp256k1::SecretKey;
use wire::proto::message_contents::{Ciphertext, ciphertext};

/// A stream of chance that depends on its seed alone.
pub(super) struct Dice(ChaCha8Rng);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Dice(ChaCha8Rng::seed_from_u64(seed))
    }

    /// From 0 to below `n`; 0 if `n` is 0.
    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n.max(1))
    }

    /// As `below`, but the low ones come far more often: a few conversations are busy, most are
    /// quiet.
    pub(super) fn skewed(&mut self, n: usize) -> usize {
        let share: f64 = self.0.random();
        ((share * share * share * n as f64) as usize).min(n.saturating_sub(1))
    }

    pub(super) fn percent(&mut self, percent: u32) -> bool {
        self.0.random_range(0..100) < percent
    }

    /// A length of at least `least`, with this mean: mostly short, sometimes twelve times as
    /// long.
    pub(super) fn length(&mut self, least: usize, mean: usize) -> usize {
        let spread = mean.saturating_sub(least) as f64;
        let share: f64 = self.0.random();
        let beyond = (-(1.0 - share).ln()).min(12.0) * spread;
        least + beyond as usize
    }

    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    pub(super) fn bytes(&mut self, len: usize) -> Bytes {
        let mut bytes = BytesMut::zeroed(len);
        self.0.fill_bytes(&mut bytes);
        bytes.freeze()
    }

    /// Random bytes of the length of a sealed text of `len` bytes: without the key both look the same.
    pub(super) fn sealed(&mut self, len: usize) -> Ciphertext {
        const SALT: usize = 32;
        const NONCE: usize = 12;
        const TAG: usize = 16;
        let mut payload = self.bytes(SALT + NONCE + len + TAG);
        let hkdf_salt = payload.split_to(SALT);
        let gcm_nonce = payload.split_to(NONCE);
        let sealed = ciphertext::Aes256gcmHkdfsha256 { hkdf_salt, gcm_nonce, payload };
        Ciphertext { union: Some(ciphertext::Union::Aes256GcmHkdfSha256(sealed)) }
    }

    pub(super) fn key(&mut self) -> SecretKey {
        loop {
            // All but a few in 2^128 numbers are keys.
            if let Ok(key) = SecretKey::from_byte_array(self.array()) {
                return key;
            }
        }
    }
}
