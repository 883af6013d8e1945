//! How topics are spelled: the names that clients write.

use crate::Address;

/// Key bundles of a wallet.
pub fn contact(wallet: Address) -> String {
    format!("/xmtp/0/contact-{wallet}/proto")
}

/// First messages to a wallet.
pub fn intro(wallet: Address) -> String {
    format!("/xmtp/0/intro-{wallet}/proto")
}

/// Invitations to and by a wallet.
pub fn invite(wallet: Address) -> String {
    format!("/xmtp/0/invite-{wallet}/proto")
}

/// Invitations to groups.
pub fn group_invite(wallet: Address) -> String {
    format!("/xmtp/0/groupInvite-{wallet}/proto")
}

/// Messages between two wallets, in either order. They are sorted by their mixed-case spelling;
/// sorting the bytes or the lower-case spelling would give another topic for some pairs.
pub fn direct_message(one: Address, other: Address) -> String {
    let mut parties = [one.to_string(), other.to_string()];
    parties.sort();
    let [first, second] = parties;
    format!("/xmtp/0/dm-{first}-{second}/proto")
}

/// Messages of a second-generation conversation.
pub fn conversation(id: &str) -> String {
    format!("/xmtp/0/m-{id}/proto")
}

/// Messages of the same conversation that no node stores.
pub fn conversation_ephemeral(id: &str) -> String {
    format!("/xmtp/0/mE-{id}/proto")
}

/// A wallet's sealed private keys.
pub fn private_store(wallet: Address) -> String {
    format!("/xmtp/0/privatestore-{wallet}/key_bundle/proto")
}

/// A wallet's sealed preferences.
pub fn preferences(id: &str) -> String {
    format!("/xmtp/0/userpreferences-{id}/proto")
}
