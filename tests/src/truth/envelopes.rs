//! Every envelope: kind, generation, size, bytes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Line, Things, Truth, at, by_name, found_by_id, kinds, same, whole};
use crate::graphql::Graph;

const NODE: &str =
    "id digest timestampNs timestamp topic { name kind } kind generation size message undecodable
    payload { __typename }";

pub(super) async fn compare(graph: &Graph, truth: &Truth) {
    let expected: Things =
        truth.lines.iter().map(|line| (name(&expected(line)), expected(line))).collect();
    assert_eq!(expected.len(), truth.lines.len());
    let mut nodes = graph.all(whole("envelopes", NODE), 173, 499).await;
    found_by_id(graph, "Envelope", &mut nodes).await;
    same("envelopes", &expected, &by_name("envelopes", nodes, name));
    by_digest(graph, truth).await;
    by_filter(graph, truth).await;
}

fn name(node: &Value) -> String {
    format!("{} {}", node["digest"], node["timestampNs"])
}

fn expected(line: &Line) -> Value {
    let (topic_kind, kind) = kinds(line.kind());
    let private = line.kind() == "privatestore";
    let payload = match kind {
        "CONTACT_BUNDLE" => json!({ "__typename": "ContactBundle" }),
        "INVITE" => json!({ "__typename": "Invite" }),
        "MESSAGE_V1" | "MESSAGE_V2" => json!({ "__typename": "Message" }),
        _ => Value::Null,
    };
    json!({
        "digest": format!("0x{}", line.envelope.digest()),
        "timestampNs": line.envelope.timestamp_ns.to_string(),
        "timestamp": at(line.envelope.timestamp_ns),
        "topic": { "name": line.topic, "kind": topic_kind },
        "kind": kind,
        "generation": generation(line),
        "size": line.envelope.message.len(),
        "message": if private { Value::Null } else { json!(STANDARD.encode(&line.envelope.message)) },
        "undecodable": Value::Null,
        "payload": payload,
    })
}

fn generation(line: &Line) -> &'static str {
    match line.kind() {
        "privatestore" | "v1-intro" | "v1-conversation" => "V1",
        "contact" if line.text("form") != "v2" => "V1",
        _ => "V2",
    }
}

/// Each is found by its digest.
async fn by_digest(graph: &Graph, truth: &Truth) {
    for lines in truth.lines.chunks(20) {
        let fields: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(i, line)| {
                format!(
                    "e{i}: envelope(digest: \"{}\") {{ topic {{ name }} }}",
                    line.envelope.digest()
                )
            })
            .collect();
        let answer = graph.ask(&format!("{{ {} }}", fields.join(" ")), Value::Null).await;
        for (i, line) in lines.iter().enumerate() {
            assert_eq!(answer[format!("e{i}")]["topic"]["name"], json!(line.topic));
        }
    }
}

/// Filters count what the truth counts.
async fn by_filter(graph: &Graph, truth: &Truth) {
    let count =
        |of: &dyn Fn(&Line) -> bool| truth.lines.iter().filter(|line| of(line)).count() as u64;
    for topic_kind in [
        "CONTACT",
        "INTRO",
        "DIRECT_MESSAGE",
        "INVITE",
        "CONVERSATION",
        "PRIVATE_STORE",
        "PREFERENCES",
    ] {
        let expected = count(&|line| kinds(line.kind()).0 == topic_kind);
        let got = graph.count("envelopes", &format!("topicKinds: [{topic_kind}]")).await;
        assert_eq!(got, expected, "envelopes on topics of kind {topic_kind}");
    }
    for of in ["V1", "V2"] {
        let got = graph.count("envelopes", &format!("generations: [{of}]")).await;
        assert_eq!(got, count(&|line| generation(line) == of), "envelopes of generation {of}");
    }
    let private = graph.count("envelopes", "kinds: [PRIVATE_STORE, UNDECODABLE]").await;
    assert_eq!(private, count(&|line| line.kind() == "privatestore"));
    let middle = truth.lines[truth.lines.len() / 2].envelope.timestamp_ns;
    let got = graph.count("envelopes", &format!("after: \"{}\"", at(middle))).await;
    assert_eq!(got, count(&|line| line.envelope.timestamp_ns >= middle), "envelopes after a time");
    for (_, wallet) in truth.wallets() {
        let got = graph.count("envelopes", &format!("account: \"{wallet}\"")).await;
        let named = |line: &Line| line.topic.contains(wallet);
        assert_eq!(got, count(&named), "envelopes on topics that name {wallet}");
    }
}
