//! What the names of topics say.

use crate::{Address, Generation, TopicKind};

pub mod name;

/// What a topic's name says.
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
    /// Somebody's sealed preferences; the id says nothing about whose.
    Preferences(String),
    /// An MLS group, by its id.
    Group(Vec<u8>),
    /// Welcomes, by installation key.
    Welcome([u8; 32]),
    /// A name of no known kind.
    Unknown,
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

    /// The one wallet that the name says it belongs to.
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
