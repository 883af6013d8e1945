//! Every conversation: participants, how many messages, first and last.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Line, Things, Truth, at, by_name, found_by_id, messages, same, sort, whole};
use crate::graphql::Graph;

const KINDS: [&str; 3] = ["v1-conversation", "v2-conversation", "v2-conversation-ephemeral"];
const NODE: &str = "id topic { name kind } generation participants { address } messageCount
    firstMessageAt lastMessageAt messages(first: 0) { totalCount }";

pub(super) async fn compare(graph: &Graph, truth: &Truth) {
    let mut nodes = graph.all(whole("conversations", NODE), 13, 29).await;
    found_by_id(graph, "Conversation", &mut nodes).await;
    for node in &mut nodes {
        sort(&mut node["participants"]);
    }
    same("conversations", &expected(truth), &by_name("conversations", nodes, name));
}

fn name(node: &Value) -> String {
    node["topic"]["name"].as_str().unwrap().to_owned()
}

fn expected(truth: &Truth) -> Things {
    let mut lines: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in truth.of_kinds(&KINDS) {
        lines.entry(&line.topic).or_default().push(line);
    }
    let mut different: BTreeMap<&str, usize> = BTreeMap::new();
    for copies in messages::copies(truth).into_values() {
        let held = copies.iter().find(|line| line.kind() != "v1-intro").unwrap();
        *different.entry(&held.topic).or_default() += 1;
    }
    same_as_summary(truth, &lines);
    let things = lines.iter().map(|(topic, lines)| {
        let v1 = lines[0].kind() == "v1-conversation";
        let mut participants = json!([]);
        if v1 {
            let named = truth.summary["topics"][topic]["addresses"].as_array().unwrap();
            participants = named.iter().map(|address| json!({ "address": address })).collect();
            sort(&mut participants);
        }
        let times = lines.iter().map(|line| sent_ns(line));
        let thing = json!({
            "topic": { "name": topic, "kind": super::kinds(lines[0].kind()).0 },
            "generation": if v1 { "V1" } else { "V2" },
            "participants": participants,
            "messageCount": lines.len().to_string(),
            "firstMessageAt": at(times.clone().min().unwrap()),
            "lastMessageAt": at(times.max().unwrap()),
            "messages": { "totalCount": different[topic].to_string() },
        });
        (name(&thing), thing)
    });
    things.collect()
}

fn sent_ns(line: &Line) -> u64 {
    match line.row["sentMs"].as_u64() {
        Some(ms) => ms * 1_000_000,
        None => line.text("createdNs").parse().unwrap(),
    }
}

/// A firehose shows what was stored and what was ephemeral; the summary counts both.
fn same_as_summary(truth: &Truth, lines: &BTreeMap<&str, Vec<&Line>>) {
    let count = |topic: &str| lines.get(topic).map_or(0, Vec::len) as u64;
    let topics = truth.summary["topics"].as_object().unwrap();
    for conversation in truth.summary["conversations"].as_array().unwrap() {
        let topic = conversation["topic"].as_str().unwrap();
        let ephemeral = topics.iter().filter(|(_, other)| other["of"] == conversation["topic"]);
        assert_eq!(count(topic), conversation["stored"].as_u64().unwrap(), "{conversation}");
        let relayed: u64 = ephemeral.map(|(name, _)| count(name)).sum();
        assert_eq!(relayed, conversation["ephemeral"].as_u64().unwrap(), "{conversation}");
    }
}
