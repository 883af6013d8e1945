//! Sources: nodes that envelopes are read from.
//!
//! A kind of node is a folder here and a line in [`KINDS`]. It alone decides how to follow a node, how to repair gaps and how
//! to read history. All kinds get the same [`Tools`].

pub mod message_api;

mod known;
mod outbox;
mod progress;
mod report;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures::future::BoxFuture;
use store::Progress;
use tokio_util::sync::CancellationToken;

use crate::budget::{Budget, BudgetOptions};
use crate::error::Result;

pub use known::Known;
pub use outbox::{Outbox, Ticket};
pub use progress::ProgressStore;
pub use report::Reporter;

/// Every kind of node that this program reads.
static KINDS: &[&dyn SourceKind] = &[&message_api::MessageApi];

/// A kind of node.
pub trait SourceKind: Send + Sync {
    /// Its name in configuration, in `--source KIND=URL` and in the database.
    fn name(&self) -> &'static str;

    /// Checks the addresses and the options of a source, and creates its reader. It does not connect yet.
    ///
    /// # Errors
    /// When an address or an option cannot be used.
    fn reader(&self, source: &Source) -> Result<Box<dyn Reader>>;

    /// The progress that a source must be set back to, so that everything since a time (nanoseconds since 1970) is read again.
    fn rewound_to(&self, time_ns: u64) -> Vec<Progress>;
}

/// Reads one source.
pub trait Reader: Send {
    /// Reads until it is stopped, through every failure of node, broker and database; then publishes what it has and waits
    /// for the confirms, at most [`Tools::drain`].
    ///
    /// # Errors
    /// Only when no retry helps.
    fn read(
        self: Box<Self>,
        tools: Tools,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<()>>;
}

/// The tools of a reader.
pub struct Tools {
    /// Publishes envelopes and progress.
    pub outbox: Outbox,
    /// How far the source has been read.
    pub progress: ProgressStore,
    /// The names that the index knows.
    pub known: Known,
    /// The requests that the node grants.
    pub budget: Budget,
    /// Where it reports the status of the source.
    pub report: Reporter,
    /// How long it may wait for confirms after it was stopped.
    pub drain: Duration,
}

/// A kind of node, by its entry in the registry.
#[derive(Clone, Copy)]
pub struct Kind(&'static dyn SourceKind);

impl Kind {
    /// Every kind, for help texts.
    pub fn all() -> impl Iterator<Item = Kind> {
        KINDS.iter().copied().map(Kind)
    }

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0.name()
    }

    /// See [`SourceKind::rewound_to`].
    #[must_use]
    pub fn rewound_to(self, time_ns: u64) -> Vec<Progress> {
        self.0.rewound_to(time_ns)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Kind {}

/// A name that is not a kind of node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a kind of node; known: {known}")]
pub struct UnknownKind {
    word: String,
    known: String,
}

impl FromStr for Kind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::all().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind {
            word: text.into(),
            known: Self::all().map(Self::as_str).collect::<Vec<_>>().join(", "),
        })
    }
}

/// A source, as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The name under which its progress is stored and its envelopes are labelled.
    pub name: String,
    /// The kind of its nodes.
    pub kind: Kind,
    /// The addresses of its nodes, which all have the same envelopes; the first that answers is read.
    pub urls: Vec<String>,
    /// The options of its kind.
    pub options: toml::Table,
    /// How many requests it grants.
    pub budget: BudgetOptions,
}

impl Source {
    /// A source with one address and the usual options.
    pub fn new(name: impl Into<String>, kind: Kind, url: impl Into<String>) -> Source {
        Source {
            name: name.into(),
            kind,
            urls: vec![url.into()],
            options: toml::Table::new(),
            budget: BudgetOptions::default(),
        }
    }

    /// Checks the addresses and the options, and creates its reader.
    ///
    /// # Errors
    /// When an address or an option cannot be used.
    pub fn reader(&self) -> Result<Box<dyn Reader>> {
        self.kind.0.reader(self)
    }
}

/// The causes of an error that callers handle differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It cannot be reached, or the connection was lost: try again later, or another address.
    Unreachable,
    /// The requests that it grants are used up: make none for more than a minute.
    Exhausted,
    /// The response is larger than this program accepts: request less at once.
    TooLarge,
    /// It refuses the request for good.
    Refused,
    /// It failed in a way that may be the fault of this request, or did not answer in time.
    Failed,
}

/// A request to a node failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the node at {url} {text}")]
pub struct NodeError {
    /// What to do about it.
    pub cause: Cause,
    /// Which node.
    pub url: String,
    /// What happened, for a person.
    pub text: String,
}
