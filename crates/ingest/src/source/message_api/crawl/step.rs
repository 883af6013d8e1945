//! What one answer means for the crawl: pure.

use std::collections::BTreeSet;

use store::crawl::{CrawlStep, CrawlTopic, NewCrawlTopic};
use wire::{Address, Envelope, Topic, Verifier, topic};

use super::super::edges::edge;
use super::{Counts, CrawlOptions};

/// What to remember.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) steps: Vec<CrawlStep>,
    pub(super) accounts: Vec<(Address, i32)>,
    pub(super) topics: Vec<NewCrawlTopic>,
}

pub(super) fn found(
    asked: &[CrawlTopic],
    envelopes: &[Envelope],
    options: &CrawlOptions,
    verifier: &Verifier,
) -> Found {
    // Topics of one query are equally far from the seeds.
    let depth = asked.first().map_or(0, |topic| topic.depth);
    let mut counts = Counts::new();
    let mut accounts = BTreeSet::new();
    let mut topics = BTreeSet::new();
    for envelope in envelopes {
        let Ok(name) = std::str::from_utf8(&envelope.topic) else { continue };
        let (envelopes, invitations) = counts.entry(name).or_default();
        *envelopes += 1;
        let Some(edge) = edge(envelope, verifier) else { continue };
        accounts.extend([edge.sender, edge.recipient]);
        if edge.invitation {
            // Both inboxes hold the copy: count it where it was received.
            *invitations += i64::from(Topic::parse(name).owner() == Some(edge.recipient));
        }
        if !edge.invitation || options.invited_pairs {
            topics.insert(topic::name::direct_message(edge.sender, edge.recipient));
            if options.lower_case {
                topics.insert(lower_case_pair(edge.sender, edge.recipient));
            }
        }
    }
    let limit = i64::try_from(options.max_topic_envelopes).unwrap_or(i64::MAX);
    let steps = asked
        .iter()
        .map(|topic| {
            let (envelopes, invitations) =
                counts.get(topic.topic.as_str()).copied().unwrap_or_default();
            let cut_off = topic.envelopes + envelopes >= limit;
            CrawlStep { topic: topic.topic.clone(), envelopes, invitations, cut_off }
        })
        .collect();
    let topics = topics.into_iter().map(|topic| {
        let lower_case = topic == topic.to_lowercase();
        NewCrawlTopic { topic, depth: depth.saturating_add(1), lower_case }
    });
    Found {
        steps,
        accounts: accounts.into_iter().map(|account| (account, depth.saturating_add(1))).collect(),
        topics: topics.collect(),
    }
}

/// The pair as early clients spelled and sorted it.
fn lower_case_pair(one: Address, other: Address) -> String {
    let (one, other) = (one.lower(), other.lower());
    let (first, second) = if one <= other { (&one, &other) } else { (&other, &one) };
    format!("/xmtp/0/dm-{first}-{second}/proto")
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn asked(topic: &str, envelopes: i64) -> CrawlTopic {
        CrawlTopic { topic: topic.into(), depth: 3, cursor: None, envelopes }
    }

    #[test]
    fn envelopes_are_counted_by_topic_and_spam_is_cut_off() {
        let envelope = |topic: &'static str| Envelope {
            topic: Bytes::from_static(topic.as_bytes()),
            timestamp_ns: 1,
            message: Bytes::from_static(b"no payload"),
        };
        let options = CrawlOptions { max_topic_envelopes: 5, ..CrawlOptions::default() };
        let found = found(
            &[asked("a", 0), asked("b", 3), asked("c", 4)],
            &[envelope("a"), envelope("b"), envelope("b")],
            &options,
            &Verifier::default(),
        );
        let told: Vec<_> =
            found.steps.iter().map(|s| (s.topic.as_str(), s.envelopes, s.cut_off)).collect();
        assert_eq!(told, [("a", 1, false), ("b", 2, true), ("c", 0, false)]);
        assert!(found.accounts.is_empty() && found.topics.is_empty());
    }

    #[test]
    fn early_pairs_are_sorted_as_they_are_spelled() {
        let one = "0xb440cd72Dd4Bd8a2DA3F97936502bdc201331A33".parse().unwrap();
        let other = "0xC9E46B0eA84eFb3cFd84964F23b312D9De73CaC9".parse().unwrap();
        assert_eq!(lower_case_pair(other, one), lower_case_pair(one, other));
        assert!(
            lower_case_pair(other, one)
                .starts_with("/xmtp/0/dm-0xb440cd72dd4bd8a2da3f97936502bdc201331a33-0xc9e4")
        );
    }
}
