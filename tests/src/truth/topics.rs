//! Every topic: kind, whose, how many envelopes and bytes, first and last.

use serde_json::{Value, json};

use super::{Things, Truth, at_text, by_name, found_by_id, kinds, same, take, whole};
use crate::graphql::Graph;

const NODE: &str = "id name kind account { address } envelopeCount byteCount firstSeenAt lastSeenAt
    envelopes(first: 0) { totalCount }";

pub(super) async fn compare(graph: &Graph, truth: &Truth) {
    let expected = expected(truth);
    let mut nodes = graph.all(whole("topics", NODE), 61, 77).await;
    found_by_id(graph, "Topic", &mut nodes).await;
    for node in &mut nodes {
        let listed = take(node, "envelopes");
        assert_eq!(listed["totalCount"], node["envelopeCount"], "{node}");
    }
    same("topics", &expected, &by_name("topics", nodes, name));
    for (name, topic) in &expected {
        let query = "query($name: String!) { topic(name: $name) { kind envelopeCount } }";
        let answer = graph.ask(query, json!({ "name": name })).await;
        assert_eq!(answer["topic"]["kind"], topic["kind"], "{name}");
    }
    for empty in truth.summary["emptyTopics"].as_array().unwrap() {
        let query = "query($name: String!) { topic(name: $name) { name } }";
        let answer = graph.ask(query, json!({ "name": empty["topic"] })).await;
        assert_eq!(answer["topic"], Value::Null, "{empty}");
    }
}

fn name(node: &Value) -> String {
    node["name"].as_str().unwrap().to_owned()
}

fn expected(truth: &Truth) -> Things {
    let mut things = Things::new();
    for (name, topic) in truth.summary["topics"].as_object().unwrap() {
        let kind = topic["kind"].as_str().unwrap();
        // The summary counts what was relayed; a repeated line is there once.
        let again = truth.repeated.iter().filter(|line| line.topic == *name);
        let (mut envelopes, mut bytes) =
            (topic["envelopes"].as_u64().unwrap(), topic["bytes"].as_u64().unwrap());
        for line in again {
            envelopes -= 1;
            bytes -= line.envelope.message.len() as u64;
        }
        // A name of preferences is made from a secret: it names nobody.
        let named = ["contact", "v1-intro", "v2-invite", "privatestore"].contains(&kind);
        let account = if named { json!({ "address": topic["address"] }) } else { Value::Null };
        things.insert(
            name.clone(),
            json!({
                "name": name,
                "kind": kinds(kind).0,
                "account": account,
                "envelopeCount": envelopes.to_string(),
                "byteCount": bytes.to_string(),
                "firstSeenAt": at_text(topic["first"].as_str().unwrap()),
                "lastSeenAt": at_text(topic["last"].as_str().unwrap()),
            }),
        );
    }
    things
}
