//! The queries of readers: one consistent snapshot a request, pages by keyset, look-ups by sets of keys.
//!
//! A request opens one [`Snapshot`] and sends every statement through it. Lists take a filter and a [`PageRequest`] and cost
//! the same on every page and in both directions. Look-ups take all keys at once, so the number of statements follows from
//! the shape of a request and not from the number of rows.
//!
//! Every statement names its tables with their schemas. Rows never lie beyond the served head (see
//! `derived.served` in the migrations), so no statement compares positions with it.
//!
//! Bytes of private stores are never returned: the view that messages are read from leaves them out.

mod accounts;
mod analytics;
mod contact_bundles;
mod conversations;
mod envelopes;
mod invites;
mod messages;
mod nested;
mod page;
mod row;
mod session;
mod snapshot;
mod statement;
mod status;
mod tag;
mod tail;
mod topics;
mod value;
mod welcomes;

#[cfg(test)]
mod tests;

pub use accounts::{Account, AccountFilter, AccountOrder};
pub use analytics::{Split, Totals, Volume, VolumeFilter, Width};
pub use contact_bundles::{
    ContactBundle, ContactBundleFilter, Extent, Key as BundleKey, Keys, Source,
};
pub use conversations::{Conversation, ConversationFilter, ConversationOrder};
pub use envelopes::{COPIES, Envelope, EnvelopeFilter, EnvelopeOrder};
pub use invites::{Delivery, Invite, InviteFilter};
pub use messages::{Message, MessageFilter};
pub use nested::{Bundles, Nested};
pub use page::{Key, Keyed, Page, PageRequest, TieBreaker, TieBreakerKind, TimeOrder};
pub use snapshot::{Heads, Snapshot};
pub use status::{SourceStatus, Status};
pub use tail::Followed;
pub use topics::{Topic, TopicFilter, TopicOrder};
pub use welcomes::{Welcome, WelcomeFilter};
