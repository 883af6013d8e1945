#![doc = include_str!("../README.md")]

mod address;
mod digest;
mod envelope;
pub mod json;
mod kind;
pub mod payload;
pub mod proto;
pub mod topic;
pub mod verify;

pub use address::{Address, AddressError};
pub use digest::{Digest, DigestError};
pub use envelope::Envelope;
pub use kind::{Generation, PayloadKind, TopicKind, Verification};
pub use payload::{
    BundleForm, ContactBundle, GroupMessage, Invite, KeyBundle, MAX_MESSAGE_BYTES, MAX_TOPIC_BYTES,
    MessageV1, MessageV2, Payload, PublicKey, Reading, Refused, Undecodable, Welcome,
    WrapperAlgorithm, admit, admit_numbered, read,
};
pub use topic::Topic;
pub use verify::{Verifier, address_of, eip191_hash, identity_text, keccak256};
