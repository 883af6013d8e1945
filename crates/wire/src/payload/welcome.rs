//! Welcomes: invitations of installations to MLS groups. Sealed: only the installation, the size and the kind of sealing can be read.

use std::borrow::Cow;

use bytes::Bytes;

use super::Undecodable;
use super::keys::{decoded, needed};
use crate::proto::mls_api as proto;

/// Longest HPKE key that is taken for one. Known ones have 32 bytes and 1,216; lists hold the keys of all their rows.
const MAX_KEY_BYTES: usize = 4096;

/// An invitation of an installation to an MLS group, or a pointer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The node's number over all welcomes together.
    pub id: u64,
    /// Set by the node.
    pub created_ns: u64,
    /// The same as the topic's. Usually an installation's; what a pointer points to has its own.
    pub installation_key: [u8; 32],
    /// It only names the place of the welcome.
    pub is_pointer: bool,
    /// How it is sealed.
    pub wrapper_algorithm: WrapperAlgorithm,
    /// The key it is sealed for. None has what a pointer points to: that is sealed with a symmetric key.
    pub hpke_public_key: Option<Bytes>,
    /// Size of the sealed part in bytes, without the metadata that are sealed beside it.
    pub data_bytes: usize,
}

/// How a welcome or a pointer is sealed, as the network numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WrapperAlgorithm(i32);

impl WrapperAlgorithm {
    /// Not stated. Only pointers keep this value: a welcome that states no kind has the first kind that existed.
    pub const UNSPECIFIED: Self = Self(0);
    /// HPKE with X25519.
    pub const CURVE25519: Self = Self(1);
    /// HPKE with X-Wing, which holds against quantum computers.
    pub const XWING_MLKEM_768_DRAFT_6: Self = Self(2);
    /// A symmetric key, which pointers hold.
    pub const SYMMETRIC_KEY: Self = Self(3);

    /// The number that is stored: the network's own.
    pub const fn code(self) -> i32 {
        self.0
    }

    /// The algorithm of this number. Every number is one: the network may get more.
    pub const fn from_code(code: i32) -> Self {
        Self(code)
    }

    /// The network's name, or `UNKNOWN_<number>`.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::UNSPECIFIED => "UNSPECIFIED",
            Self::CURVE25519 => "CURVE25519",
            Self::XWING_MLKEM_768_DRAFT_6 => "XWING_MLKEM_768_DRAFT_6",
            Self::SYMMETRIC_KEY => "SYMMETRIC_KEY",
            Self(code) => return Cow::Owned(format!("UNKNOWN_{code}")),
        })
    }
}

pub(super) fn decode(key: &[u8; 32], message: &Bytes) -> Result<Welcome, Undecodable> {
    use proto::welcome_message::Version;
    let message: proto::WelcomeMessage = decoded("welcome", message)?;
    let is_pointer = matches!(message.version, Some(Version::WelcomePointer(_)));
    let (id, created_ns, named, hpke, algorithm, data) = match needed("version", message.version)? {
        Version::V1(v1) => {
            let algorithm = match WrapperAlgorithm(v1.wrapper_algorithm) {
                WrapperAlgorithm::UNSPECIFIED => WrapperAlgorithm::CURVE25519,
                said => said,
            };
            (v1.id, v1.created_ns, v1.installation_key, v1.hpke_public_key, algorithm, v1.data)
        }
        Version::WelcomePointer(pointer) => (
            pointer.id,
            pointer.created_ns,
            pointer.installation_key,
            pointer.hpke_public_key,
            WrapperAlgorithm(pointer.wrapper_algorithm),
            pointer.welcome_pointer,
        ),
    };
    if named != key.as_slice() {
        return Err(Undecodable::because("the welcome names another installation than its topic"));
    }
    if hpke.len() > MAX_KEY_BYTES {
        return Err(Undecodable::because(format_args!(
            "the HPKE key has {} bytes, more than {MAX_KEY_BYTES}",
            hpke.len()
        )));
    }
    Ok(Welcome {
        id,
        created_ns,
        installation_key: *key,
        is_pointer,
        wrapper_algorithm: algorithm,
        hpke_public_key: (!hpke.is_empty()).then_some(hpke),
        data_bytes: data.len(),
    })
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use proto::welcome_message::{V1, Version, WelcomePointer};

    use super::*;

    fn read(version: Option<Version>) -> Result<Welcome, Undecodable> {
        decode(&[7; 32], &proto::WelcomeMessage { version }.encode_to_vec().into())
    }

    fn v1(wrapper_algorithm: i32, hpke: usize) -> Option<Version> {
        Some(Version::V1(V1 {
            installation_key: Bytes::from_static(&[7; 32]),
            wrapper_algorithm,
            hpke_public_key: vec![1; hpke].into(),
            ..V1::default()
        }))
    }

    #[test]
    fn algorithms_have_the_networks_names() {
        for (code, name) in [
            (0, "CURVE25519"),
            (1, "CURVE25519"),
            (2, "XWING_MLKEM_768_DRAFT_6"),
            (3, "SYMMETRIC_KEY"),
            (-4, "UNKNOWN_-4"),
        ] {
            assert_eq!(read(v1(code, 0)).unwrap().wrapper_algorithm.name(), name);
        }
        let pointer =
            WelcomePointer { installation_key: vec![7; 32].into(), ..WelcomePointer::default() };
        let pointer = read(Some(Version::WelcomePointer(pointer))).unwrap();
        assert!(pointer.is_pointer);
        assert_eq!(pointer.wrapper_algorithm.name(), "UNSPECIFIED");
        assert_eq!(pointer.hpke_public_key, None);
    }

    #[test]
    fn what_is_no_welcome_of_the_topic_says_why() {
        assert!(read(None).unwrap_err().to_string().contains("version"));
        let other = Some(Version::V1(V1::default()));
        assert!(read(other).unwrap_err().to_string().contains("another installation"));
        assert!(read(v1(1, MAX_KEY_BYTES)).is_ok());
        assert!(read(v1(1, MAX_KEY_BYTES + 1)).unwrap_err().to_string().contains("4097 bytes"));
    }
}
