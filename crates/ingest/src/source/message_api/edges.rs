//! The other wallets that an envelope names: the path from known wallets to unknown ones.
//!
//! An edge is accepted only if the bundles of both parties are genuine and the topic is of one of them. It stays a claim:
//! bundles are public, so anybody can replay them. That is enough for a query.

use wire::{Address, Payload, Topic, TopicKind, Verification, Verifier, topic};

/// The wallets that one envelope names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) sender: Address,
    pub(crate) recipient: Address,
    /// Of an invitation; else of a first-generation message.
    pub(crate) invitation: bool,
}

/// Kinds of topics whose envelopes name both parties.
const NAMING: [TopicKind; 4] =
    [TopicKind::Intro, TopicKind::DirectMessage, TopicKind::Invite, TopicKind::GroupInvite];

pub(crate) fn edge(envelope: &wire::Envelope, verifier: &Verifier) -> Option<Edge> {
    let name = std::str::from_utf8(&envelope.topic).ok()?;
    if !NAMING.contains(&Topic::parse(name).kind()) {
        return None;
    }
    match wire::read(name, envelope.timestamp_ns, &envelope.message, verifier).payload.ok()? {
        Payload::Invite(invite) if invite.verification == Verification::Verified => {
            Some(Edge { sender: invite.sender, recipient: invite.recipient, invitation: true })
        }
        Payload::MessageV1(message) if message.verification == Verification::Verified => {
            Some(Edge { sender: message.sender, recipient: message.recipient, invitation: false })
        }
        _ => None,
    }
}

/// The topics of a wallet whose names follow from its address. Not its private store: those are sealed keys.
pub(crate) fn topics_of(account: Address) -> [String; 4] {
    use topic::name;
    [
        name::contact(account),
        name::intro(account),
        name::invite(account),
        name::group_invite(account),
    ]
}

/// Its private store. It is queried only where and when the stream would have shown it: sealed keys are not searched for.
pub(crate) fn private_store_of(account: Address) -> String {
    topic::name::private_store(account)
}

/// The same names as early clients spelled them. Empty when the spellings do not differ.
pub(crate) fn lower_case_topics_of(account: Address) -> Vec<String> {
    let (spelled, lower) = (account.to_string(), account.lower());
    if spelled == lower {
        return Vec::new();
    }
    topics_of(account).into_iter().map(|name| name.replace(&spelled, &lower)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_has_four_derivable_topics_in_two_spellings() {
        let account: Address = "0xC9E46B0eA84eFb3cFd84964F23b312D9De73CaC9".parse().unwrap();
        assert_eq!(
            topics_of(account)[0],
            "/xmtp/0/contact-0xC9E46B0eA84eFb3cFd84964F23b312D9De73CaC9/proto"
        );
        let lower = lower_case_topics_of(account);
        assert_eq!(
            lower[3],
            "/xmtp/0/groupInvite-0xc9e46b0ea84efb3cfd84964f23b312d9de73cac9/proto"
        );
        let digits: Address = "0x1111111111111111111111111111111111111111".parse().unwrap();
        assert!(lower_case_topics_of(digits).is_empty());
    }
}
