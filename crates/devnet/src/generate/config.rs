//! The configuration of the generator.

/// The mix of actions and the sizes of messages. Invalid values are replaced by the
/// nearest valid ones: at least two wallets, messages that a node accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Wallets that are there from the beginning. They are known before the first envelope, so a
    /// discovery can be seeded with them; they register during the first actions.
    pub wallets: usize,
    /// Second-generation conversations that are there from the beginning, without an invitation in the traffic.
    pub conversations: usize,
    /// No wallet is added beyond these. It bounds the memory of an endless run.
    pub max_wallets: usize,
    /// No conversation (of either generation) is added beyond these; invitations then repeat.
    pub max_conversations: usize,
    /// The mean size in bytes of a second-generation message's payload.
    pub message_bytes: usize,
    /// The weights of the actions.
    pub mix: Mix,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            wallets: 100,
            conversations: 0,
            max_wallets: 5_000,
            max_conversations: 50_000,
            message_bytes: 1_024,
            mix: Mix::default(),
        }
    }
}

impl Config {
    pub(super) fn sensible(self) -> Self {
        let wallets = self.wallets.max(2);
        Config {
            wallets,
            conversations: self.conversations,
            max_wallets: self.max_wallets.max(wallets),
            max_conversations: self.max_conversations.max(1),
            // The longest is twelve times the mean, and a node takes about a mebibyte.
            message_bytes: self.message_bytes.clamp(300, 80_000),
            mix: self.mix,
        }
    }
}

/// Weights of the actions; only their ratios count. One action is one envelope or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix {
    /// A second-generation message: one envelope.
    pub messages_v2: u32,
    /// A sealed invitation, which opens a conversation: one envelope in each inbox.
    pub invites: u32,
    /// A first-generation message: one envelope, or three if it introduces two strangers.
    pub messages_v1: u32,
    /// Consent preferences of one wallet: one envelope.
    pub preferences: u32,
    /// A new wallet: a contact bundle of either generation and a private store.
    pub registrations: u32,
    /// A known wallet's application starts again and repeats its two contact bundles.
    pub restarts: u32,
}

impl Default for Mix {
    /// About 82 of 100 envelopes are second-generation messages.
    fn default() -> Self {
        Mix {
            messages_v2: 860,
            invites: 40,
            messages_v1: 20,
            preferences: 30,
            registrations: 10,
            restarts: 10,
        }
    }
}
