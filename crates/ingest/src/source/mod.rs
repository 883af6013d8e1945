//! Kinds of nodes: one file each, speaking that node's language and nothing else.

pub mod message_api;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a node is asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// V1 and V2: `xmtp.message_api.v1.MessageApi`.
    MessageApi,
}

impl Kind {
    /// Every kind, for help texts.
    pub const ALL: &[Self] = &[Self::MessageApi];

    /// The word used in configuration, in `--source KIND=URL` and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MessageApi => "message-api",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no kind of node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of node; known: message-api")]
pub struct UnknownKind(String);

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| UnknownKind(text.into()))
    }
}

/// A node to read from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The name under which its progress is stored and its envelopes are labelled.
    pub name: String,
    /// What it is asked with.
    pub kind: Kind,
    /// Where it is: `http://host:5556` or `https://host`.
    pub url: String,
}

/// What the caller of a node must tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Not reachable, or gone in the middle: try again later.
    Away,
    /// Our requests are used up: be silent for more than a minute.
    Exhausted,
    /// The answer is larger than we take: ask for less at once.
    TooLarge,
    /// It will never answer this.
    Refused,
}

/// A node did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the node at {url} {text}")]
pub struct NodeError {
    /// What to do about it.
    pub trouble: Trouble,
    /// Which node.
    pub url: String,
    /// What happened, for a person.
    pub text: String,
}
