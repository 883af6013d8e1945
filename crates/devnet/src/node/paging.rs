//! Property: a client that follows the cursors reads each stored envelope once, in order.

use std::collections::BTreeSet;

use bytes::Bytes;
use proptest::prelude::*;
use wire::Envelope;
use wire::proto::message_api::{PagingInfo, QueryRequest, SortDirection};

use super::Node;

/// Few topics, times and contents, so that envelopes collide in every way.
fn envelopes() -> impl Strategy<Value = Vec<Envelope>> {
    // Not at time 0: a cursor there loses its time, and nodes then compare digests alone.
    let envelope = (0..4u8, 1..7u64, 0..4u8).prop_map(|(topic, time, content)| Envelope {
        topic: Bytes::from(format!("/xmtp/0/m-{topic}/proto")),
        timestamp_ns: time * 10,
        message: Bytes::copy_from_slice(&[content]),
    });
    prop::collection::vec(envelope, 0..80)
}

/// All pages, and how many there were.
fn walk(node: &Node, mut request: QueryRequest) -> (Vec<Envelope>, usize) {
    let mut all = Vec::new();
    let limit = request.paging_info.as_ref().unwrap().limit as usize;
    // A walk that goes in circles fails instead of going on.
    for pages in 1..=100 {
        let answer = node.query(&request).unwrap();
        let paging = answer.paging_info.unwrap();
        let rows = answer.envelopes.len();
        all.extend(answer.envelopes.into_iter().map(Envelope::from));
        assert_eq!(paging.cursor.is_some(), rows == limit);
        assert_eq!(paging.limit as usize, if rows == limit { limit } else { 0 });
        let asked = request.paging_info.as_mut().unwrap();
        assert_eq!(paging.direction, asked.direction);
        match paging.cursor {
            Some(cursor) => asked.cursor = Some(cursor),
            None => return (all, pages),
        }
    }
    panic!("the pages have no end")
}

proptest! {
    #[test]
    fn every_walk_reads_each_stored_envelope_once_in_order(
        published in envelopes(),
        topics in prop::collection::vec(0..5u8, 1..5),
        limit in 1..9u32,
        direction in 0..=2i32,
        start in 0..8u64,
        end in 0..8u64,
    ) {
        let node = Node::default();
        for envelope in &published {
            node.keep(envelope);
        }
        let topics: Vec<String> =
            topics.iter().map(|topic| format!("/xmtp/0/m-{topic}/proto")).collect();
        let (start_time_ns, end_time_ns) = (start * 10, end * 10);
        let ascending = direction == SortDirection::Ascending as i32;
        let stored: BTreeSet<_> = published
            .iter()
            .map(|e| (e.timestamp_ns, *e.digest().as_bytes(), e.topic.clone()))
            .collect();
        prop_assert_eq!(node.stored(), stored.len());
        let mut expected: Vec<_> = stored
            .into_iter()
            .filter(|(_, _, topic)| topics.iter().any(|t| t.as_bytes() == topic))
            .filter(|(time, ..)| *time >= start_time_ns)
            .filter(|(time, ..)| end_time_ns == 0 || *time <= end_time_ns)
            .collect();
        if !ascending {
            expected.reverse();
        }
        let paging = PagingInfo { limit, cursor: None, direction };
        let request = QueryRequest {
            content_topics: topics,
            start_time_ns,
            end_time_ns,
            paging_info: Some(paging),
        };
        let (read, pages) = walk(&node, request);
        let read: Vec<_> = read
            .iter()
            .map(|e| (e.timestamp_ns, *e.digest().as_bytes(), e.topic.clone()))
            .collect();
        // One page more than is full, even if it is empty.
        prop_assert_eq!(pages, expected.len() / limit as usize + 1);
        prop_assert_eq!(read, expected);
    }
}
