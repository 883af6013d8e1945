//! Everything that can be asked: each filter's fields alone, with values that are common and rare, and in pairs.

use uuid::Uuid;
use wire::{Address, Generation, PayloadKind, TopicKind, Verification};

use super::{super::super::*, index};

/// A filter, in words, and how many scans at most it may need.
#[derive(Clone, Debug)]
pub(super) struct Filtered<F> {
    pub(super) filter: F,
    /// Its fields, each with a word about its value.
    pub(super) words: String,
    pub(super) ways: u64,
    /// Only its plan is of interest, not what it costs.
    pub(super) pair: bool,
}

/// A value of a field: the field, a word about the value, how many scans it needs, and how it is put.
type Value<F> = (&'static str, &'static str, u64, Box<dyn Fn(&mut F)>);

/// No filter, each value alone, and of each two fields the first values: others make the same statement.
fn combined<F: Default>(values: Vec<Value<F>>) -> Vec<Filtered<F>> {
    let mut all =
        vec![Filtered { filter: F::default(), words: "all".into(), ways: 1, pair: false }];
    let mut firsts: Vec<&Value<F>> = Vec::new();
    for value in &values {
        let (field, word, ways, put) = value;
        let mut filter = F::default();
        put(&mut filter);
        all.push(Filtered { filter, words: format!("{field} {word}"), ways: *ways, pair: false });
        if firsts.iter().all(|(known, ..)| known != field) {
            firsts.push(value);
        }
    }
    for (nth, (field, word, ways, put)) in firsts.iter().enumerate() {
        for (other, other_word, other_ways, other_put) in &firsts[nth + 1..] {
            let mut filter = F::default();
            put(&mut filter);
            other_put(&mut filter);
            let words = format!("{field} {word} {other} {other_word}");
            all.push(Filtered { filter, words, ways: ways * other_ways, pair: true });
        }
    }
    all
}

/// The values of a filter. Who adds a field to a filter adds it here: the pattern names every field.
macro_rules! values {
    ($filter:ident { $($field:ident: [$($word:literal $ways:literal $value:expr),+ $(,)?]),+ $(,)? }) => {{
        let $filter { $($field: _),+ } = $filter::default();
        let mut values: Vec<Value<$filter>> = Vec::new();
        $($({
            let value = $value;
            values.push((
                stringify!($field),
                $word,
                $ways,
                Box::new(move |filter: &mut $filter| filter.$field = value.clone()),
            ));
        })+)+
        combined(values)
    }};
}

/// A time by which a part of everything has happened.
fn by(part: f64) -> u64 {
    let (begin, end) = (index::POPULATION.day(0), index::POPULATION.day(index::POPULATION.days()));
    begin + ((end - begin) as f64 * part) as u64
}

fn nobody() -> Address {
    Address::from([0xee; 20])
}

pub(super) fn envelopes(keys: &[Uuid]) -> Vec<Filtered<EnvelopeFilter>> {
    values!(EnvelopeFilter {
        topics: ["one" 1 Some(keys[1..2].to_vec()), "heavy" 1 Some(keys[..1].to_vec()), "fifty" 50 Some(keys.to_vec())],
        topic_kinds: ["common" 1 Some(vec![TopicKind::Group]), "rare" 1 Some(vec![TopicKind::Preferences]),
                      "several" 3 Some(vec![TopicKind::Group, TopicKind::Preferences, TopicKind::Intro])],
        kinds: ["common" 1 Some(vec![PayloadKind::GroupMessage]), "rare" 1 Some(vec![PayloadKind::Preferences]),
                "several" 3 Some(vec![PayloadKind::GroupMessage, PayloadKind::Preferences, PayloadKind::MessageV1])],
        generations: ["common" 1 Some(vec![Generation::V3]), "rare" 1 Some(vec![Generation::V4]),
                      "several" 2 Some(vec![Generation::V1, Generation::V4])],
        account: ["one" 2 Some(index::wallet(2)), "nobody" 1 Some(nobody())],
        after: ["early" 1 Some(by(0.1)), "late" 1 Some(by(0.999))],
        before: ["early" 1 Some(by(0.001)), "late" 1 Some(by(0.9))],
    })
}

pub(super) fn topics() -> Vec<Filtered<TopicFilter>> {
    values!(TopicFilter {
        kinds: ["common" 1 Some(vec![TopicKind::Group]), "rare" 1 Some(vec![TopicKind::Unknown]),
                "several" 2 Some(vec![TopicKind::Group, TopicKind::Unknown])],
        account: ["heavy" 2 Some(index::wallet(1)), "one" 2 Some(index::wallet(50_000)), "nobody" 2 Some(nobody())],
        name_starts_with: ["common" 1 Some("/xmtp/0/".into()), "rare" 1 Some("/heavy".into())],
        active_after: ["early" 1 Some(by(0.1)), "late" 1 Some(by(0.9999))],
    })
}

pub(super) fn accounts() -> Vec<Filtered<AccountFilter>> {
    values!(AccountFilter {
        addresses: ["one" 1 Some(vec![index::wallet(7)]), "fifty" 50 Some((0..50).map(index::wallet).collect::<Vec<_>>())],
        has_contact_bundle: ["common" 1 Some(true), "rare" 1 Some(false)],
        seen_after: ["early" 1 Some(by(0.1)), "late" 1 Some(by(0.9999))],
    })
}

pub(super) fn contact_bundles() -> Vec<Filtered<ContactBundleFilter>> {
    values!(ContactBundleFilter {
        account: ["heavy" 1 Some(index::wallet(1)), "one" 1 Some(index::wallet(5)), "nobody" 1 Some(nobody())],
        generation: ["common" 1 Some(Generation::V2), "rare" 1 Some(Generation::V1)],
        verification: ["common" 1 Some(vec![Verification::Verified]), "rare" 1 Some(vec![Verification::WrongOwner]),
                       "several" 2 Some(vec![Verification::Unsigned, Verification::WrongOwner])],
        current_only: ["yes" 2 true],
        after: ["early" 1 Some(by(0.1)), "late" 1 Some(by(0.999))],
        before: ["early" 1 Some(by(0.001)), "late" 1 Some(by(0.9))],
    })
}

pub(super) fn invites() -> Vec<Filtered<InviteFilter>> {
    values!(InviteFilter {
        participants: ["one" 2 vec![index::wallet(1)], "two" 2 vec![index::wallet(1), index::wallet(2)],
                       "nobody" 2 vec![nobody()]],
        sender: ["one" 1 Some(index::wallet(1))],
        recipient: ["one" 1 Some(index::wallet(1))],
        verification: ["common" 1 Some(vec![Verification::Verified]), "rare" 1 Some(vec![Verification::WrongOwner]),
                       "several" 2 Some(vec![Verification::Unsigned, Verification::WrongOwner])],
        after: ["early" 1 Some(by(0.1)), "late" 1 Some(by(0.999))],
        before: ["early" 1 Some(by(0.001)), "late" 1 Some(by(0.9))],
    })
}

pub(super) fn conversations() -> Vec<Filtered<ConversationFilter>> {
    values!(ConversationFilter {
        participant: ["heavy" 2 Some(index::wallet(1)), "one" 2 Some(index::wallet(7)), "nobody" 2 Some(nobody())],
        generation: ["common" 1 Some(Generation::V2), "rare" 1 Some(Generation::V4)],
        active_after: ["early" 1 Some(by(0.0)), "late" 1 Some(by(0.9))],
    })
}

pub(super) fn messages(chats: &[Uuid]) -> Vec<Filtered<MessageFilter>> {
    values!(MessageFilter {
        sender: ["one" 1 Some(index::wallet(2)), "nobody" 1 Some(nobody())],
        recipient: ["one" 1 Some(index::wallet(2))],
        conversation: ["heavy" 1 Some(chats[0]), "one" 1 Some(chats[1])],
        generation: ["common" 1 Some(Generation::V2), "rare" 1 Some(Generation::V1)],
        after: ["early" 1 Some(by(0.0)), "late" 1 Some(by(0.9))],
        before: ["early" 1 Some(by(0.00001)), "late" 1 Some(by(0.9))],
    })
}

pub(super) fn welcomes(installation: [u8; 32]) -> Vec<Filtered<WelcomeFilter>> {
    values!(WelcomeFilter {
        installation: ["one" 1 Some(installation), "nobody" 1 Some([7; 32])],
        after: ["early" 1 Some(by(0.0)), "late" 1 Some(by(0.9))],
        before: ["early" 1 Some(by(0.00001)), "late" 1 Some(by(0.9))],
    })
}
