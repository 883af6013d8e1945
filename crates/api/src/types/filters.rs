//! What lists can be narrowed to. Every field is optional and they add up; lists mean any of, so that an
//! empty one matches nothing. Ranges of time take in
//! their beginning and leave out their end, so that neighbouring ranges share nothing.

use async_graphql::InputObject;
use store::read;

use super::topic::key_of;
use super::words::{Generation, PayloadKind, TopicKind, Verification};
use crate::{
    error::Trouble,
    paging::at_most,
    scalars::{Address, DateTime, Hex},
};

fn all<A, B: From<A>>(values: Option<Vec<A>>) -> Option<Vec<B>> {
    values.map(|values| values.into_iter().map(B::from).collect())
}

fn ns(at: Option<DateTime>) -> Option<u64> {
    at.map(|at| at.0)
}

/// Narrows a list of topics.
#[derive(InputObject, Clone, Debug, Default)]
pub(crate) struct TopicFilter {
    /// Of one of these kinds.
    kinds: Option<Vec<TopicKind>>,
    /// Whose name says this wallet.
    account: Option<Address>,
    /// Whose name begins like this.
    name_starts_with: Option<String>,
    /// With an envelope of this time or later.
    active_after: Option<DateTime>,
}

impl From<TopicFilter> for read::TopicFilter {
    fn from(filter: TopicFilter) -> Self {
        read::TopicFilter {
            kinds: all(filter.kinds),
            account: filter.account.map(|a| a.0),
            name_starts_with: filter.name_starts_with,
            active_after: ns(filter.active_after),
        }
    }
}

/// Narrows a list of envelopes.
#[derive(InputObject, Clone, Debug, Default)]
pub(crate) struct EnvelopeFilter {
    /// On one of these topics, by name. At most 500.
    topics: Option<Vec<String>>,
    /// On topics of one of these kinds.
    topic_kinds: Option<Vec<TopicKind>>,
    /// Holding one of these.
    kinds: Option<Vec<PayloadKind>>,
    /// Of one of these generations.
    generations: Option<Vec<Generation>>,
    /// On topics whose name says this wallet.
    account: Option<Address>,
    /// Of this time of the sender's clock or later.
    after: Option<DateTime>,
    /// Of before this time of the sender's clock.
    before: Option<DateTime>,
}

impl TryFrom<EnvelopeFilter> for read::EnvelopeFilter {
    type Error = Trouble;

    fn try_from(filter: EnvelopeFilter) -> Result<Self, Trouble> {
        at_most("topics", filter.topics.as_deref().unwrap_or_default())?;
        Ok(read::EnvelopeFilter {
            topics: filter.topics.map(|names| names.iter().map(|name| key_of(name)).collect()),
            topic_kinds: all(filter.topic_kinds),
            kinds: all(filter.kinds),
            generations: all(filter.generations),
            account: filter.account.map(|a| a.0),
            after: ns(filter.after),
            before: ns(filter.before),
        })
    }
}

/// Narrows a list of accounts.
#[derive(InputObject, Clone, Debug, Default)]
pub(crate) struct AccountFilter {
    /// One of these. At most 500.
    addresses: Option<Vec<Address>>,
    /// With or without a verified contact bundle.
    has_contact_bundle: Option<bool>,
    /// Named by an envelope of this time or later.
    seen_after: Option<DateTime>,
}

impl TryFrom<AccountFilter> for read::AccountFilter {
    type Error = Trouble;

    fn try_from(filter: AccountFilter) -> Result<Self, Trouble> {
        let addresses: Option<Vec<wire::Address>> =
            filter.addresses.map(|list| list.into_iter().map(|address| address.0).collect());
        at_most("addresses", addresses.as_deref().unwrap_or_default())?;
        Ok(read::AccountFilter {
            addresses,
            has_contact_bundle: filter.has_contact_bundle,
            seen_after: ns(filter.seen_after),
        })
    }
}

/// Narrows a list of contact bundles.
#[derive(InputObject, Clone, Debug, Default)]
pub(crate) struct ContactBundleFilter {
    /// Published on this wallet's contact topic.
    account: Option<Address>,
    /// Of this version.
    version: Option<Generation>,
    /// With one of these verdicts.
    verification: Option<Vec<Verification>>,
    /// Only those that clients would use today.
    current_only: Option<bool>,
    /// Published at this time or later.
    after: Option<DateTime>,
    /// Published before this time.
    before: Option<DateTime>,
}

impl From<ContactBundleFilter> for read::ContactBundleFilter {
    fn from(filter: ContactBundleFilter) -> Self {
        read::ContactBundleFilter {
            account: filter.account.map(|a| a.0),
            generation: filter.version.map(Into::into),
            verification: all(filter.verification),
            current_only: filter.current_only.unwrap_or(false),
            after: ns(filter.after),
            before: ns(filter.before),
        }
    }
}

/// Narrows a list of invites.
#[derive(InputObject, Clone, Debug, Default)]
pub(crate) struct InviteFilter {
    /// Sent by or to this wallet.
    participant: Option<Address>,
    /// Sent by this wallet.
    sender: Option<Address>,
    /// Sent to this wallet.
    recipient: Option<Address>,
    /// With one of these verdicts.
    verification: Option<Vec<Verification>>,
    /// Made at this time or later.
    after: Option<DateTime>,
    /// Made before this time.
    before: Option<DateTime>,
}

impl From<InviteFilter> for read::InviteFilter {
    fn from(filter: InviteFilter) -> Self {
        read::InviteFilter {
            participants: filter.participant.into_iter().map(|a| a.0).collect(),
            sender: filter.sender.map(|a| a.0),
            recipient: filter.recipient.map(|a| a.0),
            verification: all(filter.verification),
            after: ns(filter.after),
            before: ns(filter.before),
        }
    }
}

/// Narrows a list of conversations.
#[derive(InputObject, Clone, Debug, Default)]
pub(crate) struct ConversationFilter {
    /// Whose topic names this wallet.
    participant: Option<Address>,
    /// Of this generation.
    generation: Option<Generation>,
    /// With a message sent at this time or later.
    active_after: Option<DateTime>,
}

impl From<ConversationFilter> for read::ConversationFilter {
    fn from(filter: ConversationFilter) -> Self {
        read::ConversationFilter {
            participant: filter.participant.map(|a| a.0),
            generation: filter.generation.map(Into::into),
            active_after: ns(filter.active_after),
        }
    }
}

/// Narrows a list of messages.
#[derive(InputObject, Clone, Debug, Default)]
pub(crate) struct MessageFilter {
    /// Sent by this wallet, as the header claims. V1 only: later headers name nobody.
    sender: Option<Address>,
    /// Sent to this wallet, as the header claims. V1 only.
    recipient: Option<Address>,
    /// In the conversation on the topic of this name.
    conversation: Option<String>,
    /// Of this generation.
    generation: Option<Generation>,
    /// Sent at this time or later.
    after: Option<DateTime>,
    /// Sent before this time.
    before: Option<DateTime>,
}

impl From<MessageFilter> for read::MessageFilter {
    fn from(filter: MessageFilter) -> Self {
        read::MessageFilter {
            sender: filter.sender.map(|a| a.0),
            recipient: filter.recipient.map(|a| a.0),
            conversation: filter.conversation.as_deref().map(key_of),
            generation: filter.generation.map(Into::into),
            after: ns(filter.after),
            before: ns(filter.before),
        }
    }
}

/// Narrows a list of welcomes.
#[derive(InputObject, Clone, Debug, Default)]
pub(crate) struct WelcomeFilter {
    /// Of the installation that has this key, 32 bytes.
    installation: Option<Hex>,
    /// Of the installations of this inbox. Refused for now: this index does not know which they are.
    inbox: Option<Hex>,
    /// Published at this time or later.
    after: Option<DateTime>,
    /// Published before this time.
    before: Option<DateTime>,
}

impl TryFrom<WelcomeFilter> for read::WelcomeFilter {
    type Error = Trouble;

    fn try_from(filter: WelcomeFilter) -> Result<Self, Trouble> {
        if filter.inbox.is_some() {
            return Err(Trouble::input(
                "this index does not know yet which installations an inbox has: ask by installation",
            ));
        }
        let key = |key: Hex| {
            <[u8; 32]>::try_from(key.0).map_err(|_| {
                Trouble::input("an installation's key has 32 bytes, which is 64 hexadecimal digits")
            })
        };
        Ok(read::WelcomeFilter {
            installation: filter.installation.map(key).transpose()?,
            after: ns(filter.after),
            before: ns(filter.before),
        })
    }
}
