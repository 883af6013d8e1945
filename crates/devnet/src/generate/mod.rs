//! Generates traffic: endless, seeded, correctly signed. Encrypted parts are random bytes, which cannot be
//! distinguished without keys.

mod config;
mod dice;
mod payload;
mod wallet;

use bytes::Bytes;
use secp256k1::{Secp256k1, SignOnly};
use wire::topic::name;
use wire::{Address, Envelope};

pub use config::{Config, Mix};
use dice::Dice;
use wallet::{Keys, Wallet};

const MILLISECOND: u64 = 1_000_000;
/// How many of a hundred first-generation messages introduce two strangers.
const INTRODUCTIONS: u32 = 15;

/// An endless supply of legacy traffic. The same seed, configuration and times give the same
/// envelopes, to the byte.
pub struct Traffic {
    config: Config,
    dice: Dice,
    signer: Secp256k1<SignOnly>,
    /// Known, not yet registered; the next one last.
    expected: Vec<Keys>,
    wallets: Vec<Wallet>,
    /// Second generation: a conversation is its topic, whose owners are unknown.
    conversations: Vec<Bytes>,
    /// First generation: pairs that have been introduced, and their topics.
    pairs: Vec<(usize, usize, Bytes)>,
    last_ns: u64,
}

#[derive(Clone, Copy)]
enum Action {
    Register,
    Restart,
    Invite,
    MessageV1,
    MessageV2,
    Preferences,
}

impl Traffic {
    /// Traffic of this seed. Invalid values of `config` are replaced by the nearest valid ones.
    pub fn new(seed: u64, config: Config) -> Traffic {
        let config = config.sensible();
        let mut dice = Dice::new(seed);
        let signer = Secp256k1::signing_only();
        let expected = (0..config.wallets).map(|_| Keys::roll(&mut dice, &signer)).collect();
        let conversations = (0..config.conversations)
            .map(|_| name::conversation(&payload::conversation_id(&mut dice)).into())
            .collect();
        Traffic {
            config,
            dice,
            signer,
            expected,
            wallets: Vec::new(),
            conversations,
            pairs: Vec::new(),
            last_ns: 0,
        }
    }

    /// The wallets that have spoken or will speak first: seeds for a discovery.
    pub fn wallets(&self) -> Vec<Address> {
        let spoken = self.wallets.iter().map(|wallet| wallet.address);
        spoken.chain(self.expected.iter().rev().map(|keys| keys.address)).collect()
    }

    /// What happens next, at `now_ns` or as little later as it takes for times to rise from
    /// action to action. All envelopes of an action bear one time. Never empty.
    ///
    /// First-generation payloads know whole milliseconds only. More than a thousand of them a
    /// second therefore run ahead of the clock.
    pub fn next(&mut self, now_ns: u64) -> Vec<Envelope> {
        match self.choose() {
            Action::Register => self.register(now_ns),
            Action::Restart => self.restart(now_ns),
            Action::Invite => self.invite(now_ns),
            Action::MessageV1 => self.message_v1(now_ns),
            Action::MessageV2 => self.message_v2(now_ns),
            Action::Preferences => self.preferences(now_ns),
        }
    }

    fn choose(&mut self) -> Action {
        // There is no conversation before there are two; then the others join among the talk.
        if self.wallets.len() < 2 || (!self.expected.is_empty() && self.dice.percent(50)) {
            return Action::Register;
        }
        let mix = &self.config.mix;
        let weights = [
            (mix.registrations, Action::Register),
            (mix.restarts, Action::Restart),
            (mix.invites, Action::Invite),
            (mix.messages_v1, Action::MessageV1),
            (mix.preferences, Action::Preferences),
            (mix.messages_v2, Action::MessageV2),
        ];
        let all: usize = weights.iter().map(|(weight, _)| *weight as usize).sum();
        let mut left = self.dice.below(all);
        for (weight, action) in weights {
            if left < weight as usize {
                return action;
            }
            left -= weight as usize;
        }
        Action::MessageV2
    }

    fn register(&mut self, now_ns: u64) -> Vec<Envelope> {
        if self.expected.is_empty() && self.wallets.len() >= self.config.max_wallets {
            return self.restart(now_ns);
        }
        let keys = match self.expected.pop() {
            Some(keys) => keys,
            None => Keys::roll(&mut self.dice, &self.signer),
        };
        let time = self.whole_millisecond(now_ns);
        let wallet = keys.register(time / MILLISECOND, &self.signer);
        let (store_topic, store) = wallet.private_store(&mut self.dice);
        let mut envelopes = vec![envelope(&store_topic, time, &store)];
        envelopes.extend(contacts(&wallet, time));
        self.wallets.push(wallet);
        envelopes
    }

    fn restart(&mut self, now_ns: u64) -> Vec<Envelope> {
        let time = self.rising(now_ns);
        let wallet = self.dice.skewed(self.wallets.len());
        contacts(&self.wallets[wallet], time).into()
    }

    fn invite(&mut self, now_ns: u64) -> Vec<Envelope> {
        let time = self.rising(now_ns);
        let (from, to) = self.two();
        if self.conversations.len() < self.config.max_conversations {
            let id = payload::conversation_id(&mut self.dice);
            self.conversations.push(name::conversation(&id).into());
        }
        let (from, to) = (&self.wallets[from], &self.wallets[to]);
        let payload = payload::invite(&mut self.dice, from, to, time);
        vec![
            envelope(&to.invite_topic, time, &payload),
            envelope(&from.invite_topic, time, &payload),
        ]
    }

    fn message_v2(&mut self, now_ns: u64) -> Vec<Envelope> {
        if self.conversations.is_empty() {
            return self.invite(now_ns);
        }
        let time = self.rising(now_ns);
        let conversation = self.dice.skewed(self.conversations.len());
        let topic = &self.conversations[conversation];
        let payload = payload::message_v2(&mut self.dice, topic, time, self.config.message_bytes);
        vec![envelope(topic, time, &payload)]
    }

    fn message_v1(&mut self, now_ns: u64) -> Vec<Envelope> {
        let time = self.whole_millisecond(now_ns);
        let room = self.pairs.len() < self.config.max_conversations;
        let strangers = self.pairs.is_empty() || (room && self.dice.percent(INTRODUCTIONS));
        let pair = if strangers {
            let (from, to) = self.two();
            let topic = name::direct_message(self.wallets[from].address, self.wallets[to].address);
            self.pairs.push((from, to, topic.into()));
            self.pairs.len() - 1
        } else {
            self.dice.skewed(self.pairs.len())
        };
        let (one, other, topic) = &self.pairs[pair];
        let answers = !strangers && self.dice.percent(50);
        let (from, to) = if answers { (other, one) } else { (one, other) };
        let (from, to) = (&self.wallets[*from], &self.wallets[*to]);
        let payload = payload::message_v1(&mut self.dice, from, to, time / MILLISECOND);
        let mut envelopes = Vec::with_capacity(3);
        if strangers {
            envelopes.push(envelope(&to.intro_topic, time, &payload));
            envelopes.push(envelope(&from.intro_topic, time, &payload));
        }
        envelopes.push(envelope(topic, time, &payload));
        envelopes
    }

    fn preferences(&mut self, now_ns: u64) -> Vec<Envelope> {
        let time = self.rising(now_ns);
        let wallet = self.dice.skewed(self.wallets.len());
        let payload = payload::preferences(&mut self.dice);
        vec![envelope(&self.wallets[wallet].preferences_topic, time, &payload)]
    }

    /// Two different wallets.
    fn two(&mut self) -> (usize, usize) {
        let all = self.wallets.len();
        let one = self.dice.skewed(all);
        let other = self.dice.below(all.saturating_sub(1));
        (one, if other >= one { other + 1 } else { other })
    }

    /// Later than every time before; a whole millisecond, as clients have it, if there is one.
    fn rising(&mut self, now_ns: u64) -> u64 {
        self.last_ns = (now_ns - now_ns % MILLISECOND).max(self.last_ns + 1);
        self.last_ns
    }

    fn whole_millisecond(&mut self, now_ns: u64) -> u64 {
        let next = (self.last_ns + 1).next_multiple_of(MILLISECOND);
        self.last_ns = (now_ns - now_ns % MILLISECOND).max(next);
        self.last_ns
    }
}

fn contacts(wallet: &Wallet, time: u64) -> [Envelope; 2] {
    [
        envelope(&wallet.contact_topic, time, &wallet.contact_v1),
        envelope(&wallet.contact_topic, time, &wallet.contact_v2),
    ]
}

fn envelope(topic: &Bytes, timestamp_ns: u64, message: &Bytes) -> Envelope {
    Envelope { topic: topic.clone(), timestamp_ns, message: message.clone() }
}
