//! Every invitation: who, whom, when, and the copies in both inboxes, once.

use serde_json::{Value, json};

use super::{COPY, Things, Truth, at_text, by_name, found_by_id, same, sort, whole};
use crate::graphql::Graph;

pub(super) async fn compare(graph: &Graph, truth: &Truth) {
    let node = format!(
        "id sender {{ address }} recipient {{ address }} createdAt verification
         deliveredToSender deliveredToRecipient envelopes {{ {COPY} }}"
    );
    let mut nodes = graph.all(whole("invites", &node), 11, 33).await;
    found_by_id(graph, "Invite", &mut nodes).await;
    for node in &mut nodes {
        sort(&mut node["envelopes"]);
    }
    same("invites", &expected(truth), &by_name("invites", nodes, name));
    let invites = truth.summary["invites"].as_array().unwrap();
    for (_, wallet) in truth.wallets() {
        for field in ["sender", "recipient"] {
            let expected = invites.iter().filter(|invite| invite[field] == json!(wallet)).count();
            let got = graph.count("invites", &format!("{field}: \"{wallet}\"")).await;
            assert_eq!(got, expected as u64, "invites by {field} {wallet}");
        }
    }
}

fn name(node: &Value) -> String {
    node["envelopes"].to_string()
}

fn expected(truth: &Truth) -> Things {
    let invites = truth.summary["invites"].as_array().unwrap();
    let mut things = Things::new();
    for invite in invites {
        let numbers = invite["envelopes"].as_array().unwrap();
        let copies = truth
            .lines
            .iter()
            .filter(|line| numbers.contains(&line.row["i"]))
            .map(super::Line::copy);
        let mut envelopes = json!(copies.collect::<Vec<_>>());
        sort(&mut envelopes);
        let inboxes = invite["onTopicsOf"].as_array().unwrap();
        let thing = json!({
            "sender": { "address": invite["sender"] },
            "recipient": { "address": invite["recipient"] },
            "createdAt": at_text(invite["createdNs"].as_str().unwrap()),
            "verification": "VERIFIED",
            "deliveredToSender": inboxes.contains(&invite["sender"]),
            "deliveredToRecipient": inboxes.contains(&invite["recipient"]),
            "envelopes": envelopes,
        });
        things.insert(name(&thing), thing);
    }
    assert_eq!(things.len(), invites.len());
    // The summary and the rows tell of the same envelopes.
    let copies: usize = things.values().map(|t| t["envelopes"].as_array().unwrap().len()).sum();
    assert_eq!(copies, truth.of_kinds(&["v2-invite"]).count());
    things
}
