//! What readers ask: one consistent moment, pages by keyset, look-ups by sets of keys.
//!
//! A request opens one [`Snapshot`] and asks everything of it. Lists take a filter and a [`PageRequest`] and cost the
//! same on every page and in both directions. Look-ups take all keys at once, so that the number of statements follows
//! from the shape of a question and not from the number of rows.
//!
//! Bytes of private stores never come out of here, whoever asks: the statements themselves leave them out.

mod accounts;
mod analytics;
mod contact_bundles;
mod conversations;
mod envelopes;
mod hop;
mod invites;
mod messages;
mod page;
mod row;
mod snapshot;
mod statement;
mod status;
mod tail;
mod topics;
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
pub use hop::{Bundles, Hops};
pub use invites::{Delivery, Invite, InviteFilter};
pub use messages::{Message, MessageFilter};
pub use page::{Key, Keyed, Page, PageRequest, Tie, TieKind, TimeOrder};
pub use snapshot::{Heads, Snapshot};
pub use status::Status;
pub use topics::{Topic, TopicFilter, TopicOrder};
pub use welcomes::{Welcome, WelcomeFilter};
