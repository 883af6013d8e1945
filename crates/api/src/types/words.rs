//! The enums of the schema.

use async_graphql::Enum;

/// Generations of the network.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "wire::Generation")]
pub(crate) enum Generation {
    /// One conversation a pair of wallets.
    V1,
    /// Conversations opened by sealed invitations.
    V2,
    /// MLS groups.
    V3,
    /// MLS groups on decentralised nodes.
    V4,
}

/// What a topic is for.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "wire::TopicKind")]
pub(crate) enum TopicKind {
    /// A wallet's contact bundles.
    Contact,
    /// First messages to a wallet, first generation.
    Intro,
    /// Messages between two wallets, first generation.
    DirectMessage,
    /// Invitations to and by a wallet.
    Invite,
    /// Invitations to groups: an experiment of 2023.
    GroupInvite,
    /// Messages of a second-generation conversation.
    Conversation,
    /// A wallet's sealed private keys. Their bytes are never served.
    PrivateStore,
    /// Somebody's sealed preferences.
    Preferences,
    /// An MLS group.
    Group,
    /// Welcomes of an installation.
    Welcome,
    /// Identity updates of an inbox.
    IdentityUpdates,
    /// Key packages of an installation.
    KeyPackages,
    /// What payers owe.
    PayerReports,
    /// Nodes' signatures below such reports.
    PayerReportAttestations,
    /// A name of no known kind.
    Unknown,
}

/// What an envelope holds.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "wire::PayloadKind")]
pub(crate) enum PayloadKind {
    /// How to write to a wallet.
    ContactBundle,
    /// The opening of a conversation.
    Invite,
    /// A first-generation message.
    #[graphql(name = "MESSAGE_V1")]
    MessageV1,
    /// A second-generation message.
    #[graphql(name = "MESSAGE_V2")]
    MessageV2,
    /// Sealed private keys. Their bytes are never served.
    PrivateStore,
    /// Sealed preferences.
    Preferences,
    /// A message of an MLS group.
    GroupMessage,
    /// An invitation of an installation to an MLS group.
    Welcome,
    /// A change of an inbox.
    IdentityUpdate,
    /// How to add an installation to a group.
    KeyPackage,
    /// What payers owe.
    PayerReport,
    /// A node's signature below such a report.
    PayerReportAttestation,
    /// Nothing that could be understood.
    Undecodable,
}

/// What is being done about a gap.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "store::GapState")]
pub(crate) enum GapState {
    /// Nothing yet.
    Open,
    /// It is being read again.
    Repairing,
    /// The source cannot give what is missing.
    Unrepairable,
}

/// What signatures prove. A header names parties, which is a claim; this says what of it is proven.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "wire::Verification")]
pub(crate) enum Verification {
    /// Every signature checks and the recovered wallet owns the topic.
    Verified,
    /// Signatures check, but for another wallet than the topic's.
    WrongOwner,
    /// A signature or key is wrong.
    BadSignature,
    /// No signature to check.
    Unsigned,
}

/// Which way a list goes.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Smallest or oldest first.
    Asc,
    /// Largest or newest first.
    Desc,
}

/// What topics are sorted by.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "store::read::TopicOrder")]
pub(crate) enum TopicOrderField {
    /// The latest time of an envelope. It changes with every new envelope: a topic whose value changes while a client pages
    /// may be skipped or repeated. A client that must see every topic exactly once sorts by FIRST_SEEN.
    LastSeen,
    /// The earliest time of an envelope. It changes only when an envelope with an earlier time arrives.
    FirstSeen,
    /// The number of envelopes. It changes with every new envelope: a topic whose value changes while a client pages may be
    /// skipped or repeated. A client that must see every topic exactly once sorts by FIRST_SEEN.
    EnvelopeCount,
}

/// What envelopes are sorted by.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "store::read::EnvelopeOrder")]
pub(crate) enum EnvelopeOrderField {
    /// The order of indexing, in which the place of an envelope never changes: a client that pages forward sees every
    /// envelope exactly once.
    Indexed,
    /// The sender's clock, which nobody checks.
    Timestamp,
}

/// What accounts are sorted by.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "store::read::AccountOrder")]
pub(crate) enum AccountOrderField {
    /// The earliest time of an envelope that names it. It changes only when an envelope with an earlier time arrives.
    FirstSeen,
    /// The latest time of an envelope that names it. It changes with every new envelope that names it: an account whose value
    /// changes while a client pages may be skipped or repeated. A client that must see every account exactly once sorts by
    /// FIRST_SEEN.
    LastSeen,
}

/// What conversations are sorted by.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "store::read::ConversationOrder")]
pub(crate) enum ConversationOrderField {
    /// The time of the last message. A conversation without a readable message counts as the oldest. The value changes with
    /// every new message: a conversation whose value changes while a client pages may be skipped or repeated. A client that
    /// must see every conversation exactly once pages through `topics` of the kinds DIRECT_MESSAGE and CONVERSATION by
    /// FIRST_SEEN, or follows `envelopes` in the order INDEXED.
    LastMessage,
    /// The number of messages. It changes with every new message: a conversation whose value changes while a client pages may
    /// be skipped or repeated. A client that must see every conversation exactly once pages through `topics` of the kinds
    /// DIRECT_MESSAGE and CONVERSATION by FIRST_SEEN, or follows `envelopes` in the order INDEXED.
    MessageCount,
}
