//! Parses the names of topics.

use crate::{Address, Generation, TopicKind};

pub mod name;
mod text;

pub use text::{from_text, to_text};

/// A parsed topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Key bundles of a wallet.
    Contact(Address),
    /// First messages to a wallet.
    Intro(Address),
    /// Messages between two wallets.
    DirectMessage {
        /// The wallet that is named first.
        a: Address,
        /// The wallet that is named second; may be the same.
        b: Address,
        /// No node stores it.
        ephemeral: bool,
    },
    /// Invitations to and by a wallet.
    Invite(Address),
    /// Invitations to groups.
    GroupInvite(Address),
    /// Messages of a second-generation conversation.
    Conversation {
        /// Opaque and case-sensitive; may hold `/` and `+`.
        id: String,
        /// No node stores it.
        ephemeral: bool,
    },
    /// A wallet's sealed private keys.
    PrivateStore(Address),
    /// A wallet's sealed preferences; the id does not reveal whose.
    Preferences(String),
    /// An MLS group, by its id.
    Group(Vec<u8>),
    /// Welcomes, by installation key.
    Welcome([u8; 32]),
    /// A name of no known kind.
    Unknown,
}

/// What the names of all private stores begin with.
pub const PRIVATE_STORES: &str = "/xmtp/0/privatestore-";

/// Whether this is the name of a private store, even one that no client ever made. Messages on such a topic are meant to be a
/// user's sealed private keys, so they are never served, decodable or not.
pub fn is_private(name: &str) -> bool {
    name.starts_with(PRIVATE_STORES)
}

impl Topic {
    /// Reads a name. Addresses count in any letter case, since old clients wrote them in any;
    /// everything else is exact.
    pub fn parse(name: &str) -> Self {
        Self::legacy(name).or_else(|| Self::mls(name)).unwrap_or(Self::Unknown)
    }

    fn legacy(name: &str) -> Option<Self> {
        // Only head and tail are cut off: what is between them may hold a slash.
        let (kind, rest) =
            name.strip_prefix("/xmtp/0/")?.strip_suffix("/proto")?.split_once('-')?;
        Some(match kind {
            "contact" => Self::Contact(address(rest)?),
            "intro" => Self::Intro(address(rest)?),
            "invite" => Self::Invite(address(rest)?),
            "groupInvite" => Self::GroupInvite(address(rest)?),
            "privatestore" => Self::PrivateStore(address(rest.strip_suffix("/key_bundle")?)?),
            "dm" | "dmE" => {
                let (a, b) = rest.split_once('-')?;
                let ephemeral = kind == "dmE";
                Self::DirectMessage { a: address(a)?, b: address(b)?, ephemeral }
            }
            "m" | "mE" if is_conversation_id(rest) => {
                Self::Conversation { id: rest.to_owned(), ephemeral: kind == "mE" }
            }
            "userpreferences" if is_preferences_id(rest) => Self::Preferences(rest.to_owned()),
            _ => return None,
        })
    }

    fn mls(name: &str) -> Option<Self> {
        let (kind, id) =
            name.strip_prefix("/xmtp/mls/1/")?.strip_suffix("/proto")?.split_once('-')?;
        let lower = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !lower || id.is_empty() {
            return None;
        }
        let id = hex::decode(id).ok()?;
        match kind {
            "g" => Some(Self::Group(id)),
            "w" => Some(Self::Welcome(id.try_into().ok()?)),
            _ => None,
        }
    }

    /// What the topic is for.
    pub fn kind(&self) -> TopicKind {
        match self {
            Self::Contact(_) => TopicKind::Contact,
            Self::Intro(_) => TopicKind::Intro,
            Self::DirectMessage { .. } => TopicKind::DirectMessage,
            Self::Invite(_) => TopicKind::Invite,
            Self::GroupInvite(_) => TopicKind::GroupInvite,
            Self::Conversation { .. } => TopicKind::Conversation,
            Self::PrivateStore(_) => TopicKind::PrivateStore,
            Self::Preferences(_) => TopicKind::Preferences,
            Self::Group(_) => TopicKind::Group,
            Self::Welcome(_) => TopicKind::Welcome,
            Self::Unknown => TopicKind::Unknown,
        }
    }

    /// The wallet that the topic belongs to by its name.
    pub fn owner(&self) -> Option<Address> {
        match self {
            Self::Contact(owner)
            | Self::Intro(owner)
            | Self::Invite(owner)
            | Self::GroupInvite(owner)
            | Self::PrivateStore(owner) => Some(*owner),
            _ => None,
        }
    }

    /// The two wallets of a direct message, as they are named.
    pub fn participants(&self) -> Option<(Address, Address)> {
        match self {
            Self::DirectMessage { a, b, .. } => Some((*a, *b)),
            _ => None,
        }
    }

    /// The best guess that a name allows; a payload may know better.
    pub fn generation(&self, name: &str) -> Generation {
        match self {
            Self::Contact(_) | Self::Intro(_) | Self::DirectMessage { .. } => Generation::V1,
            Self::PrivateStore(_) => Generation::V1,
            Self::Group(_) | Self::Welcome(_) => Generation::V3,
            Self::Unknown if name.starts_with("/xmtp/mls/") => Generation::V3,
            _ => Generation::V2,
        }
    }

    /// Whether nodes only relay the topic and store nothing of it.
    pub fn is_ephemeral(&self) -> bool {
        matches!(
            self,
            Self::DirectMessage { ephemeral: true, .. }
                | Self::Conversation { ephemeral: true, .. }
        )
    }
}

fn address(text: &str) -> Option<Address> {
    // Not "0X", and the digits must be there without another 0x.
    let digits = text.strip_prefix("0x")?;
    if digits.len() != 40 {
        return None;
    }
    digits.parse().ok()
}

/// Printable ASCII without the space, as clients demand.
fn is_conversation_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// 32 bytes in URL-safe base64.
fn is_preferences_id(id: &str) -> bool {
    id.len() == 43 && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: &str = "0x787729c0d2246B846A422Ada7c5Fde9EB9BfC986";

    fn kind(name: &str) -> TopicKind {
        Topic::parse(name).kind()
    }

    #[test]
    fn names_of_every_kind() {
        let hex = "ab".repeat(32);
        for (name, expected, generation) in [
            (format!("/xmtp/0/contact-{OWNER}/proto"), TopicKind::Contact, Generation::V1),
            (format!("/xmtp/0/intro-{OWNER}/proto"), TopicKind::Intro, Generation::V1),
            (format!("/xmtp/0/dm-{OWNER}-{OWNER}/proto"), TopicKind::DirectMessage, Generation::V1),
            (
                format!("/xmtp/0/dmE-{OWNER}-{OWNER}/proto"),
                TopicKind::DirectMessage,
                Generation::V1,
            ),
            (format!("/xmtp/0/invite-{OWNER}/proto"), TopicKind::Invite, Generation::V2),
            (format!("/xmtp/0/groupInvite-{OWNER}/proto"), TopicKind::GroupInvite, Generation::V2),
            ("/xmtp/0/m-x/proto".into(), TopicKind::Conversation, Generation::V2),
            ("/xmtp/0/m-a/b+c-/proto/proto".into(), TopicKind::Conversation, Generation::V2),
            ("/xmtp/0/mE-123/proto".into(), TopicKind::Conversation, Generation::V2),
            (
                format!("/xmtp/0/privatestore-{OWNER}/key_bundle/proto"),
                TopicKind::PrivateStore,
                Generation::V1,
            ),
            (
                format!("/xmtp/0/userpreferences-{}/proto", "aZ0-_".repeat(9)[..43].to_owned()),
                TopicKind::Preferences,
                Generation::V2,
            ),
            ("/xmtp/mls/1/g-0a/proto".into(), TopicKind::Group, Generation::V3),
            (format!("/xmtp/mls/1/w-{hex}/proto"), TopicKind::Welcome, Generation::V3),
            ("/xmtp/mls/1/g-zz/proto".into(), TopicKind::Unknown, Generation::V3),
            ("/xmtp/0/foo-bar/proto".into(), TopicKind::Unknown, Generation::V2),
        ] {
            let topic = Topic::parse(&name);
            assert_eq!(topic.kind(), expected, "{name}");
            assert_eq!(topic.generation(&name), generation, "{name}");
            let ephemeral = name.contains("dmE-") || name.contains("mE-");
            assert_eq!(topic.is_ephemeral(), ephemeral, "{name}");
        }
    }

    #[test]
    fn letter_case_counts_everywhere_but_in_addresses() {
        let lower = OWNER.to_lowercase();
        let digits = OWNER[2..].to_uppercase();
        for name in
            [format!("/xmtp/0/contact-{lower}/proto"), format!("/xmtp/0/contact-0x{digits}/proto")]
        {
            assert_eq!(Topic::parse(&name).owner(), OWNER.parse().ok(), "{name}");
        }
        for name in [
            format!("/xmtp/0/Contact-{OWNER}/proto"),
            format!("/XMTP/0/contact-{OWNER}/proto"),
            format!("/xmtp/0/contact-0X{digits}/proto"),
            format!("/xmtp/0/groupinvite-{OWNER}/proto"),
            format!("/xmtp/0/dme-{OWNER}-{OWNER}/proto"),
            "/xmtp/mls/1/g-0A/proto".into(),
        ] {
            assert_eq!(kind(&name), TopicKind::Unknown, "{name}");
        }
    }

    #[test]
    fn names_that_are_nearly_something() {
        let hex = "ab".repeat(32);
        for name in [
            "",
            "/xmtp/0/proto",
            "/xmtp/0//proto",
            "/xmtp/0/-/proto",
            "/xmtp/0/m/proto",
            "/xmtp/0/m-/proto",
            "/xmtp/0/m-a b/proto",
            "/xmtp/0/m-\u{e9}/proto",
            "/xmtp/0/m-\u{7f}/proto",
            "m-9093243984",
            "invite-0x90xc9",
            "dm-joe-fred",
            "/xmtp/0/dm-joe-fred/proto",
            "test-0xabc",
            "history-v0",
            "/xmtp/mls/1/g-/proto",
            "/xmtp/mls/1/g-abc/proto",
            "/xmtp/mls/1/g-0xab/proto",
            "/xmtp/mls/1/x-ab/proto",
            &format!("/xmtp/mls/1/w-{}/proto", &hex[2..]),
            &format!("/xmtp/0/contact-{}/proto", &OWNER[2..]),
            &format!("/xmtp/0/contact-0x{OWNER}/proto"),
            &format!("/xmtp/0/contact-0x0x{}/proto", &OWNER[4..]),
            &format!("/xmtp/0/contact-{OWNER}0/proto"),
            &format!("/xmtp/0/contact-{OWNER}"),
            &format!("/xmtp/0/contact-{OWNER}/x/proto"),
            &format!("/xmtp/1/contact-{OWNER}/proto"),
            &format!("/xmtp/0/dm-{OWNER}/proto"),
            &format!("/xmtp/0/dm-{OWNER}-{OWNER}-{OWNER}/proto"),
            &format!("/xmtp/0/privatestore-{OWNER}/proto"),
            &format!("/xmtp/0/privatestore-{OWNER}/other/proto"),
            "/xmtp/0/userpreferences-x/proto",
            &format!("/xmtp/0/userpreferences-{}/proto", "+".repeat(43)),
        ] {
            assert_eq!(kind(name), TopicKind::Unknown, "{name}");
        }
    }

    #[test]
    fn private_stores_are_private_under_any_name() {
        for rest in ["/key_bundle/proto", "/proto", "/other/proto", ""] {
            assert!(is_private(&format!("/xmtp/0/privatestore-{OWNER}{rest}")), "{rest}");
        }
        assert!(is_private(&name::private_store(OWNER.parse().unwrap())));
        assert!(!is_private(&name::contact(OWNER.parse().unwrap())));
    }
}
