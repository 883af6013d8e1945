//! Endless new traffic made from a capture: real payloads with new times. Topics are known beforehand, or are born and end
//! while it goes on.
//!
//! Headers of invitations and messages are unsigned, so a payload of the capture can be given another time and stays what it
//! was: the bundles in it are as well signed as before. The same seed makes the same choices.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use prost::Message as _;
use rand::{Rng as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use wire::{
    Envelope,
    proto::message_contents::{
        Message, MessageHeaderV1, MessageHeaderV2, SealedInvitation, SealedInvitationHeaderV1,
        message, sealed_invitation,
    },
};

/// Something that a client published at once: one payload, on one topic or several.
struct Template {
    topics: Vec<Bytes>,
    message: Bytes,
}

/// Makes traffic.
pub struct Traffic {
    templates: Vec<Template>,
    /// What is published again and again, by its number.
    living: Vec<usize>,
    /// What has not been published yet, by its number.
    unborn: Vec<usize>,
    /// Whether topics are born.
    births: bool,
    dice: ChaCha8Rng,
    last_ns: u64,
    last: Vec<Envelope>,
}

impl Traffic {
    /// Traffic like that of a capture. Ephemeral topics are left out: a node does not keep them, so nothing brings back
    /// what a reader missed.
    pub fn like(capture: &[Envelope], seed: u64) -> Traffic {
        let mut templates: Vec<Template> = Vec::new();
        let mut by_payload: HashMap<(u64, Bytes), usize> = HashMap::new();
        let kept = capture.iter().filter(|envelope| {
            !wire::Topic::parse(std::str::from_utf8(&envelope.topic).unwrap()).is_ephemeral()
        });
        for envelope in kept {
            let key = (envelope.timestamp_ns, envelope.message.clone());
            let number = *by_payload.entry(key).or_insert(templates.len());
            if number == templates.len() {
                templates.push(Template { topics: Vec::new(), message: envelope.message.clone() });
            }
            if !templates[number].topics.contains(&envelope.topic) {
                templates[number].topics.push(envelope.topic.clone());
            }
        }
        Traffic {
            living: (0..templates.len()).collect(),
            templates,
            unborn: Vec::new(),
            births: false,
            dice: ChaCha8Rng::seed_from_u64(seed),
            last_ns: 0,
            last: Vec::new(),
        }
    }

    /// The same, with a fifth of the topics held back to be born later. Others are born that are in no capture. Half of those
    /// that are born end at once.
    pub fn with_births(mut self) -> Traffic {
        self.births = true;
        let mut all: Vec<Bytes> =
            self.templates.iter().flat_map(|template| template.topics.iter().cloned()).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|_| self.dice.random_bool(0.2));
        let late: HashSet<Bytes> = all.into_iter().collect();
        let templates = &self.templates;
        (self.unborn, self.living) = (0..templates.len())
            .partition(|number| templates[*number].topics.iter().any(|topic| late.contains(topic)));
        self.unborn.shuffle(&mut self.dice);
        self
    }

    /// So much that every topic has something.
    pub fn on_every_topic(&mut self, now_ns: u64) -> Vec<Envelope> {
        let mut known = HashSet::new();
        let mut round = Vec::new();
        for number in self.living.clone() {
            let new = self.templates[number].topics.iter().any(|topic| !known.contains(topic));
            if new {
                known.extend(self.templates[number].topics.iter().cloned());
                round.extend(self.publish(number, now_ns));
            }
        }
        round
    }

    /// What one client does next.
    pub fn next(&mut self, now_ns: u64) -> Vec<Envelope> {
        match self.dice.random_range(0..100) {
            // A client that did not hear that its request went well makes it again.
            0..2 => self.last.clone(),
            // Anyone can publish anything.
            2..4 => {
                let number = self.any();
                let topic = self.templates[number].topics[0].clone();
                let mut message = vec![0; self.dice.random_range(0..400)];
                self.dice.fill(message.as_mut_slice());
                vec![Envelope { topic, timestamp_ns: self.tick(now_ns), message: message.into() }]
            }
            4..8 if self.births => {
                let number = self.give_birth();
                let mut envelopes = self.publish(number, now_ns);
                if self.dice.random_bool(0.5) {
                    envelopes.extend(self.publish(number, now_ns));
                }
                if self.dice.random_bool(0.5) {
                    self.living.push(number);
                }
                self.last = envelopes.clone();
                envelopes
            }
            _ => {
                let number = self.any();
                self.last = self.publish(number, now_ns);
                self.last.clone()
            }
        }
    }

    fn any(&mut self) -> usize {
        self.living[self.dice.random_range(0..self.living.len())]
    }

    /// Something whose topic has had nothing yet: held back, or the message of a conversation on a topic that is in no capture.
    fn give_birth(&mut self) -> usize {
        if self.dice.random_bool(0.5)
            && let Some(number) = self.unborn.pop()
        {
            return number;
        }
        let is_conversation =
            |topics: &[Bytes]| topics.iter().all(|topic| topic.starts_with(b"/xmtp/0/m-"));
        let message = loop {
            let number = self.any();
            if is_conversation(&self.templates[number].topics) {
                break self.templates[number].message.clone();
            }
        };
        let topic = format!("/xmtp/0/m-{:032x}/proto", self.dice.random::<u128>());
        self.templates.push(Template { topics: vec![topic.into()], message });
        self.templates.len() - 1
    }

    /// Times never repeat, so that every publication is a new one.
    fn tick(&mut self, now_ns: u64) -> u64 {
        self.last_ns = now_ns.max(self.last_ns + 1);
        self.last_ns
    }

    fn publish(&mut self, number: usize, now_ns: u64) -> Vec<Envelope> {
        let timestamp_ns = self.tick(now_ns);
        let template = &self.templates[number];
        let message = at_time(template, timestamp_ns);
        let copy = |topic: &Bytes| Envelope {
            topic: topic.clone(),
            timestamp_ns,
            message: message.clone(),
        };
        template.topics.iter().map(copy).collect()
    }
}

/// The payload with another time in its header, if it has one.
fn at_time(template: &Template, ns: u64) -> Bytes {
    let name = std::str::from_utf8(&template.topics[0]).unwrap();
    let message = template.message.clone();
    let bytes = match wire::Topic::parse(name).kind() {
        wire::TopicKind::Invite => {
            let mut invitation = SealedInvitation::decode(message).unwrap();
            let Some(sealed_invitation::Version::V1(sealed)) = &mut invitation.version else {
                panic!("a capture's invitation has a version");
            };
            let mut header = SealedInvitationHeaderV1::decode(sealed.header_bytes.clone()).unwrap();
            header.created_ns = ns;
            sealed.header_bytes = header.encode_to_vec().into();
            invitation.encode_to_vec()
        }
        wire::TopicKind::Intro | wire::TopicKind::DirectMessage | wire::TopicKind::Conversation => {
            let mut whole = Message::decode(message).unwrap();
            match &mut whole.version {
                Some(message::Version::V1(v1)) => {
                    let mut header = MessageHeaderV1::decode(v1.header_bytes.clone()).unwrap();
                    header.timestamp = ns / 1_000_000;
                    v1.header_bytes = header.encode_to_vec().into();
                }
                Some(message::Version::V2(v2)) => {
                    let mut header = MessageHeaderV2::decode(v2.header_bytes.clone()).unwrap();
                    header.created_ns = ns;
                    v2.header_bytes = header.encode_to_vec().into();
                }
                None => panic!("a capture's message has a version"),
            }
            whole.encode_to_vec()
        }
        _ => return message,
    };
    bytes.into()
}
