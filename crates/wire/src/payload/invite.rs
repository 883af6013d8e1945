//! Invitations: the opening of a second-generation conversation.

use bytes::Bytes;

use super::keys::{self, decoded, needed};
use super::{KeyBundle, Undecodable};
use crate::proto::message_contents as proto;
use crate::{Address, Verification, Verifier};

/// What an invite topic holds. One invitation is published twice, to either party. The conversation's
/// topic is in the sealed part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    /// The wallet that claims to invite.
    pub sender: Address,
    /// The invited wallet.
    pub recipient: Address,
    /// Equal to the envelope's time.
    pub created_ns: u64,
    /// Both parties are genuine and the topic is of one of them. Not that the sender wrote it.
    pub verification: Verification,
    /// The topic is the sender's.
    pub placed_with_sender: bool,
    /// The topic is the recipient's.
    pub placed_with_recipient: bool,
}

pub(super) fn decode(
    owner: Address,
    timestamp_ns: u64,
    message: &Bytes,
    verifier: &Verifier,
) -> Result<Invite, Undecodable> {
    use proto::sealed_invitation::Version;
    let sealed: proto::SealedInvitation = decoded("invitation", message)?;
    let Version::V1(sealed) = needed("version", sealed.version)?;
    needed("ciphertext", sealed.ciphertext.and_then(|ciphertext| ciphertext.union))?;
    let header: proto::SealedInvitationHeaderV1 = decoded("header", &sealed.header_bytes)?;
    let created_ns = header.created_ns;
    if created_ns != timestamp_ns {
        return Err(Undecodable::because(format_args!(
            "the header's time {created_ns} is not the envelope's {timestamp_ns}; clients refuse it"
        )));
    }
    let party =
        |role, bundle| keys::party(role, KeyBundle::from_v2(needed(role, bundle)?)?, verifier);
    let (sender, sender_good) = party("sender", header.sender)?;
    let (recipient, recipient_good) = party("recipient", header.recipient)?;
    let placed_with_sender = sender == owner;
    let placed_with_recipient = recipient == owner;
    let verification = if !(sender_good && recipient_good) {
        Verification::BadSignature
    } else if placed_with_sender || placed_with_recipient {
        Verification::Verified
    } else {
        Verification::WrongOwner
    };
    Ok(Invite {
        sender,
        recipient,
        created_ns,
        verification,
        placed_with_sender,
        placed_with_recipient,
    })
}
