//! First-generation messages: between two wallets that the header names.

use bytes::Bytes;

use super::keys::{self, decoded, needed};
use super::{KeyBundle, Undecodable};
use crate::proto::message_contents as proto;
use crate::topic::name;
use crate::{Address, Topic, Verification, Verifier};

/// What intro and direct-message topics hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageV1 {
    /// The wallet that claims to be the sender.
    pub sender: Address,
    /// To whom.
    pub recipient: Address,
    /// The header's time, which is whole milliseconds.
    pub sent_ns: u64,
    /// Both parties are genuine and the topic is theirs. Not that the sender wrote it.
    pub verification: Verification,
}

/// Where the message was found.
pub(super) enum Place {
    /// In the inbox of one wallet.
    Intro(Address),
    /// Between two, in the order of the name.
    Between(Address, Address),
}

impl Place {
    fn fits(&self, sender: Address, recipient: Address) -> bool {
        match *self {
            Self::Intro(owner) => owner == sender || owner == recipient,
            // The name is built anew: clients do not look under the other order.
            Self::Between(a, b) => {
                let built = Topic::parse(&name::direct_message(sender, recipient));
                built.participants() == Some((a, b))
            }
        }
    }
}

pub(super) fn decode(
    place: Place,
    message: &Bytes,
    verifier: &Verifier,
) -> Result<MessageV1, Undecodable> {
    use proto::message::Version;
    let message: proto::Message = decoded("message", message)?;
    let v1 = match needed("version", message.version)? {
        Version::V1(v1) => v1,
        Version::V2(_) => {
            return Err(Undecodable::because(
                "a second-generation message on a topic of the first",
            ));
        }
    };
    needed("ciphertext", v1.ciphertext.and_then(|ciphertext| ciphertext.union))?;
    let header: proto::MessageHeaderV1 = decoded("header", &v1.header_bytes)?;
    let party =
        |role, bundle| keys::party(role, KeyBundle::from_v1(needed(role, bundle)?)?, verifier);
    let (sender, sender_good) = party("sender", header.sender)?;
    let (recipient, recipient_good) = party("recipient", header.recipient)?;
    let verification = if !(sender_good && recipient_good) {
        Verification::BadSignature
    } else if place.fits(sender, recipient) {
        Verification::Verified
    } else {
        Verification::WrongOwner
    };
    Ok(MessageV1 {
        sender,
        recipient,
        sent_ns: header.timestamp.saturating_mul(1_000_000),
        verification,
    })
}
