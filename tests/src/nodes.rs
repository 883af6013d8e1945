//! Two nodes that have the same envelopes, one of which is in trouble at times, and what a reader of both cannot know.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use devnet::{Devnet, Options};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;
use wire::{Envelope, Topic};

use crate::tables::{Database, Identity, identity};

/// The longest trouble of a node.
const LONGEST: Duration = Duration::from_secs(4);

/// What is wrong with a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It stores what comes, and relays nothing.
    Mute,
    /// Nobody listens at its address.
    Down,
}

/// The nodes, and all that they were given.
pub struct Nodes {
    nodes: [Option<Devnet>; 2],
    addresses: [SocketAddr; 2],
    trouble: Option<(usize, Trouble, Instant)>,
    dice: ChaCha8Rng,
    /// How often there was which trouble: mute, down, hung up.
    pub troubles: [u32; 3],
    /// Everything in the order of its publication.
    sent: Vec<Sent>,
}

/// An envelope that both nodes have.
struct Sent {
    envelope: Envelope,
    /// Whether a node relayed it to somebody.
    relayed: bool,
}

/// A time in which whoever reads the nodes died: what was published between these times may have died with it.
pub type Death = (u64, u64);

impl Nodes {
    /// Starts both.
    pub async fn start(seed: u64) -> Nodes {
        let (a, b) = (node(None).await.unwrap(), node(None).await.unwrap());
        let address = |node: &Devnet| node.grpc_url()["http://".len()..].parse().unwrap();
        Nodes {
            addresses: [address(&a), address(&b)],
            nodes: [Some(a), Some(b)],
            trouble: None,
            dice: ChaCha8Rng::seed_from_u64(seed),
            troubles: [0; 3],
            sent: Vec::new(),
        }
    }

    /// Where they are.
    pub fn urls(&self) -> [String; 2] {
        self.addresses.map(|address| format!("http://{address}"))
    }

    /// How many envelopes they were given.
    pub fn len(&self) -> usize {
        self.sent.len()
    }

    /// Whether they were given none.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    /// Gives envelopes to both; one that is down has them when it is back.
    pub fn publish(&mut self, envelopes: Vec<Envelope>) {
        let mute = |n| matches!(self.trouble, Some((at, Trouble::Mute, _)) if at == n);
        let hears = |(n, node): (usize, &Option<Devnet>)| {
            node.as_ref().is_some_and(|node| node.streams() > 0) && !mute(n)
        };
        let relayed = self.nodes.iter().enumerate().any(hears);
        for node in self.nodes.iter().flatten() {
            node.publish(envelopes.clone());
        }
        self.sent.extend(envelopes.into_iter().map(|envelope| Sent { envelope, relayed }));
    }

    /// Now and then brings trouble upon a node, or ends it.
    pub async fn suffer(&mut self) {
        if let Some((_, _, until)) = self.trouble {
            if Instant::now() >= until {
                self.heal().await;
            }
            return;
        }
        if !self.dice.random_bool(0.01) {
            return;
        }
        let n = self.dice.random_range(0..2);
        let until = Instant::now() + LONGEST.mul_f64(self.dice.random_range(0.1..1.0));
        let what = self.dice.random_range(0..3);
        self.troubles[what] += 1;
        match what {
            0 => {
                self.nodes[n].as_ref().unwrap().mute(true);
                self.trouble = Some((n, Trouble::Mute, until));
            }
            1 => {
                // Its tasks end by themselves.
                self.nodes[n] = None;
                self.trouble = Some((n, Trouble::Down, until));
            }
            _ => self.nodes[n].as_ref().unwrap().drop_streams(),
        }
    }

    /// Ends the trouble there is, if that is possible just now.
    pub async fn heal(&mut self) {
        match self.trouble {
            Some((n, Trouble::Mute, _)) => self.nodes[n].as_ref().unwrap().mute(false),
            Some((n, Trouble::Down, _)) => {
                // The one before may not have let go of the address yet.
                let Some(back) = node(Some(self.addresses[n])).await else { return };
                back.preload(self.sent.iter().map(|sent| sent.envelope.clone()).collect());
                self.nodes[n] = Some(back);
            }
            None => {}
        }
        self.trouble = None;
    }

    /// Whether one of them is in trouble.
    pub fn is_in_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    /// Everything that they were given, each once.
    pub fn distinct(&self) -> BTreeSet<Identity> {
        self.sent.iter().map(|sent| identity(&sent.envelope)).collect()
    }

    /// What may be missing, by topic. A node answers about what is named to it and lists nothing, so a topic cannot be known
    /// if nobody heard anything of it, and its name follows from no wallet that anybody named. "Nobody heard" means of each of
    /// its envelopes that no node relayed it, or that whoever heard it died before it was safe.
    pub async fn unknowable(
        &self,
        deaths: &[Death],
        database: &Database,
    ) -> HashMap<Bytes, BTreeSet<Identity>> {
        let died = |ns: u64| deaths.iter().any(|(safe, death)| (*safe..=*death).contains(&ns));
        let mut heard: HashSet<&Bytes> = HashSet::new();
        for Sent { envelope, relayed } in &self.sent {
            if *relayed && !died(envelope.timestamp_ns) {
                heard.insert(&envelope.topic);
            }
        }
        let wallets = database.wallets().await;
        let follows = |topic: &Bytes| {
            let topic = Topic::parse(std::str::from_utf8(topic).unwrap());
            topic.owner().is_some_and(|owner| wallets.contains(owner.as_bytes().as_slice()))
        };
        let mut unknowable: HashMap<Bytes, BTreeSet<Identity>> = HashMap::new();
        for Sent { envelope, .. } in &self.sent {
            if !heard.contains(&envelope.topic) && !follows(&envelope.topic) {
                unknowable.entry(envelope.topic.clone()).or_default().insert(identity(envelope));
            }
        }
        unknowable
    }

    /// Those of all that were sent which a log holds, in the order of their publication.
    pub fn sent_of(&self, log: &BTreeSet<Identity>) -> Vec<Envelope> {
        let sent = self.sent.iter().map(|sent| &sent.envelope);
        sent.filter(|envelope| log.contains(&identity(envelope))).cloned().collect()
    }

    /// How many topics had their first envelope while nobody heard, and stand in the log all the same.
    pub fn found_later(&self, log: &BTreeSet<Identity>) -> usize {
        let mut topics = HashSet::new();
        let first = self.sent.iter().filter(|sent| topics.insert(&sent.envelope.topic));
        first.filter(|sent| !sent.relayed && log.contains(&identity(&sent.envelope))).count()
    }
}

async fn node(address: Option<SocketAddr>) -> Option<Devnet> {
    let mut options = Options::default();
    if let Some(address) = address {
        options.grpc = address;
    }
    Devnet::start(options, CancellationToken::new()).await.ok()
}
