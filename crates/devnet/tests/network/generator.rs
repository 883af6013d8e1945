//! Generated traffic: correctly signed, of every kind, the same for the same seed.

use std::collections::{BTreeMap, BTreeSet};

use devnet::generate::{Config, Mix, Traffic};
use wire::{BundleForm, Envelope, Payload, PayloadKind, Topic, TopicKind, Verification, Verifier};

const NOW: u64 = 1_700_000_000_123_456_789;
const MILLISECOND: u64 = 1_000_000;

fn traffic(seed: u64, config: Config, actions: u64) -> Vec<Vec<Envelope>> {
    let mut traffic = Traffic::new(seed, config);
    (0..actions).map(|action| traffic.next(NOW + action * 3 * MILLISECOND)).collect()
}

fn small() -> Config {
    Config { wallets: 20, ..Config::default() }
}

#[test]
fn every_envelope_reads_as_what_it_is_and_verifies() {
    // More of the rare kinds, so that few actions show them all.
    let mix = Mix { messages_v2: 200, messages_v1: 100, registrations: 20, ..Mix::default() };
    let config = Config { max_wallets: 30, max_conversations: 40, mix, ..small() };
    let verifier = Verifier::default();
    let mut kinds = BTreeMap::<(TopicKind, PayloadKind), usize>::new();
    let mut forms = BTreeSet::new();
    for envelope in traffic(1, config, 1_500).into_iter().flatten() {
        let name = wire::admit(&envelope).unwrap();
        let reading = wire::read(name, envelope.timestamp_ns, &envelope.message, &verifier);
        *kinds.entry((reading.topic.kind(), reading.kind())).or_default() += 1;
        match reading.payload.unwrap() {
            Payload::ContactBundle(bundle) => {
                assert_eq!(bundle.verification, Verification::Verified);
                assert_eq!(bundle.signer, reading.topic.owner());
                assert!(bundle.keys.identity_key.created_ns / MILLISECOND >= NOW / MILLISECOND);
                forms.insert(bundle.form == BundleForm::V2);
            }
            Payload::Invite(invite) => {
                assert_eq!(invite.verification, Verification::Verified);
                assert_eq!(invite.created_ns, envelope.timestamp_ns);
                assert_ne!(invite.sender, invite.recipient);
                assert!(invite.placed_with_sender != invite.placed_with_recipient);
            }
            Payload::MessageV1(message) => {
                assert_eq!(message.verification, Verification::Verified);
                assert_eq!(message.sent_ns, envelope.timestamp_ns);
                let parties = [message.sender, message.recipient];
                match reading.topic {
                    Topic::Intro(owner) => assert!(parties.contains(&owner)),
                    Topic::DirectMessage { a, b, ephemeral } => {
                        assert!(parties == [a, b] || parties == [b, a]);
                        assert!(!ephemeral);
                    }
                    other => panic!("{:?}", other.kind()),
                }
            }
            Payload::MessageV2(message) => {
                assert_eq!(message.created_ns, envelope.timestamp_ns);
                assert!(message.has_sender_hmac && message.should_push.is_some());
            }
            Payload::PrivateStore | Payload::Preferences => {}
            Payload::GroupMessage(_) | Payload::Welcome(_) => panic!("not of these generations"),
        }
    }
    let seen: Vec<_> = kinds.keys().copied().collect();
    assert_eq!(
        seen,
        [
            (TopicKind::Contact, PayloadKind::ContactBundle),
            (TopicKind::Intro, PayloadKind::MessageV1),
            (TopicKind::DirectMessage, PayloadKind::MessageV1),
            (TopicKind::Invite, PayloadKind::Invite),
            (TopicKind::Conversation, PayloadKind::MessageV2),
            (TopicKind::PrivateStore, PayloadKind::PrivateStore),
            (TopicKind::Preferences, PayloadKind::Preferences),
        ]
    );
    assert_eq!(forms.len(), 2);
}

#[test]
fn the_seed_and_the_clock_decide_and_nothing_else() {
    let one = traffic(5, small(), 400);
    assert_eq!(one, traffic(5, small(), 400));
    assert_ne!(one, traffic(6, small(), 400));
    assert_eq!(
        Traffic::new(5, small()).wallets().len(),
        20,
        "a discovery can be seeded before anything is said"
    );
}

#[test]
fn wallets_are_known_before_they_speak_and_stay_in_order() {
    let mut traffic = Traffic::new(9, small());
    let before = traffic.wallets();
    let mut speakers = Vec::new();
    for action in 0..2_000 {
        for envelope in traffic.next(NOW + action) {
            let name = std::str::from_utf8(&envelope.topic).unwrap();
            if let Topic::PrivateStore(owner) = Topic::parse(name) {
                speakers.push(owner);
            }
        }
    }
    let after = traffic.wallets();
    assert_eq!(after[..20], before[..]);
    assert_eq!(after, speakers);
    assert!(after.len() > 20);
}

#[test]
fn times_rise_from_action_to_action_even_if_the_clock_stands_still() {
    let mut traffic = Traffic::new(2, small());
    let mut last = 0;
    for _ in 0..2_000 {
        let envelopes = traffic.next(NOW);
        let time = envelopes[0].timestamp_ns;
        assert!(time > last, "{time} after {last}");
        assert!(envelopes.iter().all(|envelope| envelope.timestamp_ns == time));
        last = time;
    }
    // Only first-generation payloads need a millisecond of their own.
    assert!(last < NOW + 200 * MILLISECOND);
}

#[test]
fn the_mix_is_mostly_messages_of_the_wanted_size_in_a_few_busy_topics() {
    for mean in [800, 1_024, 3_000] {
        let config = Config { message_bytes: mean, ..small() };
        let all: Vec<_> = traffic(4, config, 12_000).into_iter().flatten().collect();
        let mut topics = BTreeMap::<&[u8], usize>::new();
        let mut bytes = 0;
        for envelope in all.iter().filter(|e| e.topic.starts_with(b"/xmtp/0/m-")) {
            *topics.entry(&envelope.topic).or_default() += 1;
            bytes += envelope.message.len();
        }
        let messages: usize = topics.values().sum();
        let share = messages as f64 / all.len() as f64;
        assert!((0.78..0.86).contains(&share), "{share}");
        let size = bytes as f64 / messages as f64 / mean as f64;
        assert!((0.97..1.03).contains(&size), "{size} of {mean}");
        let mut counts: Vec<_> = topics.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let busiest: usize = counts.iter().take(counts.len() / 10).sum();
        assert!(busiest * 10 > messages * 3, "{busiest} of {messages}");
    }
}

#[test]
fn a_configuration_without_sense_is_pulled_into_it() {
    let nothing = Mix {
        messages_v2: 0,
        invites: 0,
        messages_v1: 0,
        preferences: 0,
        registrations: 0,
        restarts: 0,
    };
    let config = Config {
        wallets: 0,
        max_wallets: 0,
        max_conversations: 0,
        message_bytes: 0,
        mix: nothing,
        ..Config::default()
    };
    let all: Vec<_> = traffic(1, config, 50).into_iter().flatten().collect();
    assert!(all.len() >= 50);
    assert!(all.iter().all(|envelope| !envelope.message.is_empty()));
}
