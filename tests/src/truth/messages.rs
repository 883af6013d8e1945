//! Every message of either generation: parties, time, marks for pushing, copies.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{COPY, Line, Things, Truth, at, at_text, by_name, found_by_id, same, sort, whole};
use crate::graphql::Graph;

const V1: [&str; 2] = ["v1-intro", "v1-conversation"];
const V2: [&str; 2] = ["v2-conversation", "v2-conversation-ephemeral"];

pub(super) async fn compare(graph: &Graph, truth: &Truth) {
    let node = format!(
        "id generation sentAt verification sender {{ address }} recipient {{ address }}
         shouldPush hasSenderHmac conversation {{ topic {{ name }} }} envelopes {{ {COPY} }}"
    );
    let mut nodes = graph.all(whole("messages", &node), 191, 401).await;
    found_by_id(graph, "Message", &mut nodes).await;
    for node in &mut nodes {
        sort(&mut node["envelopes"]);
    }
    same("messages", &expected(truth), &by_name("messages", nodes, name));
    by_party(graph, truth).await;
}

fn name(node: &Value) -> String {
    node["envelopes"].to_string()
}

/// The lines that carry one message, by the message's id.
pub(super) fn copies(truth: &Truth) -> BTreeMap<&str, Vec<&Line>> {
    let mut copies: BTreeMap<&str, Vec<&Line>> = BTreeMap::new();
    for line in truth.of_kinds(&V1).chain(truth.of_kinds(&V2)) {
        copies.entry(line.text("messageId")).or_default().push(line);
    }
    copies
}

fn expected(truth: &Truth) -> Things {
    let mut things = Things::new();
    for lines in copies(truth).into_values() {
        let thing = message(&lines);
        things.insert(name(&thing), thing);
    }
    same_as_summary(truth, &things);
    things
}

fn message(lines: &[&Line]) -> Value {
    // Introductions are copies; the message stands in its conversation.
    let line = lines.iter().find(|line| line.kind() != "v1-intro").unwrap();
    let mut envelopes = json!(lines.iter().map(|line| line.copy()).collect::<Vec<_>>());
    sort(&mut envelopes);
    let conversation = json!({ "topic": { "name": line.topic } });
    if V1.contains(&line.kind()) {
        return json!({
            "generation": "V1",
            "sentAt": at(line.row["sentMs"].as_u64().unwrap() * 1_000_000),
            "verification": "VERIFIED",
            "sender": { "address": line.row["sender"] },
            "recipient": { "address": line.row["recipient"] },
            "shouldPush": null,
            "hasSenderHmac": false,
            "conversation": conversation,
            "envelopes": envelopes,
        });
    }
    json!({
        "generation": "V2",
        "sentAt": at_text(line.text("createdNs")),
        // The header of the second generation is unsigned and names nobody.
        "verification": "UNSIGNED",
        "sender": null,
        "recipient": null,
        "shouldPush": line.row["shouldPush"],
        "hasSenderHmac": line.row["senderHmac"],
        "conversation": conversation,
        "envelopes": envelopes,
    })
}

/// The summary tells of each V1 message which envelopes are its copies.
fn same_as_summary(truth: &Truth, things: &Things) {
    let messages = truth.summary["v1Messages"].as_array().unwrap();
    for message in messages {
        let mut numbers = message["intros"].as_array().unwrap().clone();
        numbers.push(message["dm"].clone());
        let copies = truth.lines.iter().filter(|line| numbers.contains(&line.row["i"]));
        let mut envelopes = json!(copies.map(Line::copy).collect::<Vec<_>>());
        sort(&mut envelopes);
        let thing = things.get(&envelopes.to_string()).unwrap_or_else(|| panic!("{message}"));
        assert_eq!(thing["sender"]["address"], message["sender"]);
        assert_eq!(thing["recipient"]["address"], message["recipient"]);
    }
    let v1 = things.values().filter(|thing| thing["generation"] == json!("V1")).count();
    assert_eq!(v1, messages.len());
}

async fn by_party(graph: &Graph, truth: &Truth) {
    let messages = truth.summary["v1Messages"].as_array().unwrap();
    for (_, wallet) in truth.wallets() {
        for field in ["sender", "recipient"] {
            let expected =
                messages.iter().filter(|message| message[field] == json!(wallet)).count();
            let got = graph.count("messages", &format!("{field}: \"{wallet}\"")).await;
            assert_eq!(got, expected as u64, "messages by {field} {wallet}");
        }
    }
}
