//! What official clients say about their own traffic is what the graph says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::fixture::{Indexed, capture, truth};

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| text(value).parse().unwrap())
}

/// Nanoseconds of an answer's time.
fn ns(value: &Value) -> u64 {
    let at = chrono::DateTime::parse_from_rfc3339(value.as_str().unwrap()).unwrap();
    store::time::from_datetime(at.into())
}

fn hex(value: &Value) -> Option<String> {
    value["bytes"].as_str().map(|text| text.trim_start_matches("0x").to_owned())
}

#[tokio::test]
async fn contact_bundles_are_those_that_clients_published() {
    let indexed = Indexed::with(capture()).await;
    let truth = truth();
    let query = "query($address: Address!) { account(address: $address) {
        address
        contactBundle { id }
        contactBundles(first: 500) { totalCount nodes {
            id version verification current publishedAt identityKey { bytes } preKey { bytes }
            account { address } signer { address } envelope { topic { name kind } timestampNs }
        } }
    } }";
    let mut compared = 0;
    for wallet in truth["wallets"].as_array().unwrap() {
        let published = wallet["contact"]["published"].as_array().unwrap();
        let data = indexed.ask(query, json!({ "address": wallet["address"] })).await;
        let account = &data["account"];
        let nodes = account["contactBundles"]["nodes"].as_array();
        let nodes = nodes.map_or_else(Vec::new, Clone::clone);
        type Bundle = (u64, String, Option<String>, Option<String>);
        let mut ours: Vec<Bundle> = nodes
            .iter()
            .map(|node| {
                assert_eq!(node["verification"], "VERIFIED");
                assert_eq!(node["account"]["address"], wallet["address"]);
                assert_eq!(node["signer"]["address"], wallet["address"]);
                assert_eq!(node["envelope"]["topic"]["kind"], "CONTACT");
                assert_eq!(number(&node["envelope"]["timestampNs"]), ns(&node["publishedAt"]));
                let keys = (hex(&node["identityKey"]), hex(&node["preKey"]));
                (ns(&node["publishedAt"]), text(&node["version"]), keys.0, keys.1)
            })
            .collect();
        let mut theirs: Vec<Bundle> = published
            .iter()
            .map(|bundle| {
                let version = if bundle["form"] == "v2" { "V2" } else { "V1" };
                let key = |name: &str| bundle[name].as_str().map(str::to_owned);
                (number(&bundle["timestampNs"]), version.into(), key("identityKey"), key("preKey"))
            })
            .collect();
        ours.sort();
        theirs.sort();
        theirs.dedup();
        assert_eq!(ours, theirs, "{}", wallet["address"]);
        let newest = nodes.iter().max_by_key(|node| ns(&node["publishedAt"]));
        for node in &nodes {
            let is_newest = Some(&node["id"]) == newest.map(|newest| &newest["id"]);
            assert_eq!(node["current"], is_newest);
            if is_newest {
                assert_eq!(account["contactBundle"]["id"], node["id"]);
            }
        }
        compared += ours.len();
    }
    assert!(compared > 90, "{compared}");
}

#[tokio::test]
async fn invites_topics_and_messages_are_those_that_clients_made() {
    let indexed = Indexed::with(capture()).await;
    let truth = truth();

    let query = "query($first: Int, $after: String) { invites(first: $first, after: $after) {
        nodes { sender { address } recipient { address } createdAt verification deliveredToSender deliveredToRecipient
                envelopes { topic { name kind account { address } } } }
        pageInfo { hasNextPage endCursor } } }";
    let mut ours: Vec<(String, String, u64, Vec<String>)> = Vec::new();
    for node in indexed.all(query, 17).await {
        assert_eq!(node["verification"], "VERIFIED");
        assert_eq!(node["deliveredToSender"], true);
        assert_eq!(node["deliveredToRecipient"], true);
        let mut inboxes: Vec<String> = node["envelopes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|copy| text(&copy["topic"]["account"]["address"]))
            .collect();
        inboxes.sort();
        ours.push((
            text(&node["sender"]["address"]),
            text(&node["recipient"]["address"]),
            ns(&node["createdAt"]),
            inboxes,
        ));
    }
    let mut theirs: Vec<(String, String, u64, Vec<String>)> = truth["invites"]
        .as_array()
        .unwrap()
        .iter()
        .map(|invite| {
            let mut inboxes: Vec<String> =
                invite["onTopicsOf"].as_array().unwrap().iter().map(text).collect();
            inboxes.sort();
            let parties = (text(&invite["sender"]), text(&invite["recipient"]));
            (parties.0, parties.1, number(&invite["createdNs"]), inboxes)
        })
        .collect();
    ours.sort();
    theirs.sort();
    assert_eq!(ours.len(), 76);
    assert_eq!(ours, theirs);

    let query = "query($first: Int, $after: String) { topics(first: $first, after: $after) {
        nodes { name kind envelopeCount byteCount firstSeenAt lastSeenAt
                envelopes(first: 1) { totalCount nodes { digest } } }
        pageInfo { hasNextPage endCursor } } }";
    let ours: BTreeMap<String, Value> =
        indexed.all(query, 100).await.into_iter().map(|node| (text(&node["name"]), node)).collect();
    // The truth counts what clients sent; what was sent twice is one envelope.
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeMap::<String, (u64, u64)>::new());
    for envelope in capture() {
        let name = String::from_utf8(envelope.topic.to_vec()).unwrap();
        if !seen.insert((envelope.timestamp_ns, envelope.digest())) {
            let sum = twice.entry(name).or_default();
            *sum = (sum.0 + 1, sum.1 + u64::try_from(envelope.message.len()).unwrap());
        }
    }
    let mut compared = 0;
    for (name, topic) in truth["topics"].as_object().unwrap() {
        let Some(found) = ours.get(name) else { panic!("{name} is missing") };
        assert_eq!(found["envelopes"]["totalCount"], found["envelopeCount"], "{name}");
        let kind = text(&found["kind"]);
        let expected = match topic["kind"].as_str().unwrap() {
            "contact" => "CONTACT",
            "privatestore" => "PRIVATE_STORE",
            "v1-intro" => "INTRO",
            "v1-conversation" => "DIRECT_MESSAGE",
            "v2-invite" => "INVITE",
            "userpreferences" => "PREFERENCES",
            _ => "CONVERSATION",
        };
        assert_eq!(kind, expected, "{name}");
        let (count, bytes) = twice.get(name).copied().unwrap_or_default();
        assert_eq!(number(&found["envelopeCount"]) + count, number(&topic["envelopes"]), "{name}");
        assert_eq!(number(&found["byteCount"]) + bytes, number(&topic["bytes"]), "{name}");
        assert_eq!(ns(&found["firstSeenAt"]), number(&topic["first"]), "{name}");
        assert_eq!(ns(&found["lastSeenAt"]), number(&topic["last"]), "{name}");
        compared += 1;
    }
    assert!(compared > 280, "{compared}");

    let query = "query($first: Int, $after: String) { messages(first: $first, after: $after, filter: { generation: V1 }) {
        nodes { sender { address } recipient { address } sentAt verification envelopes { topic { kind } }
                conversation { participants { address } topic { kind } } }
        pageInfo { hasNextPage endCursor } } }";
    let mut ours: BTreeSet<(String, String, u64, usize)> = BTreeSet::new();
    for node in indexed.all(query, 100).await {
        assert_eq!(node["verification"], "VERIFIED");
        assert_eq!(node["conversation"]["topic"]["kind"], "DIRECT_MESSAGE");
        let parties = (text(&node["sender"]["address"]), text(&node["recipient"]["address"]));
        let copies = node["envelopes"].as_array().unwrap().len();
        ours.insert((parties.0, parties.1, ns(&node["sentAt"]) / 1_000_000, copies));
    }
    let theirs: BTreeSet<(String, String, u64, usize)> = truth["v1Messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| {
            let copies = 1 + message["intros"].as_array().map_or(0, Vec::len);
            let parties = (text(&message["sender"]), text(&message["recipient"]));
            (parties.0, parties.1, number(&message["sentMs"]), copies)
        })
        .collect();
    assert!(ours.len() > 440);
    assert_eq!(ours, theirs);
}

#[tokio::test]
async fn who_can_be_reached_is_told_in_the_order_asked() {
    let indexed = Indexed::with(capture()).await;
    let truth = truth();
    let mut asked: Vec<Value> = Vec::new();
    let mut expected: Vec<Value> = Vec::new();
    for wallet in truth["wallets"].as_array().unwrap() {
        let contact = &wallet["contact"];
        let mut generations = Vec::new();
        if contact["published"].as_array().unwrap().iter().any(|b| b["form"] != "v2") {
            generations.push("V1");
        }
        if contact["published"].as_array().unwrap().iter().any(|b| b["form"] == "v2") {
            generations.push("V2");
        }
        asked.push(json!(text(&wallet["address"]).to_lowercase()));
        expected.push(json!({
            "address": wallet["address"], "reachable": !generations.is_empty(), "generations": generations,
        }));
    }
    asked.push(json!("0000000000000000000000000000000000000001"));
    expected.push(json!({
        "address": "0x0000000000000000000000000000000000000001", "reachable": false, "generations": [],
    }));
    asked.push(asked[0].clone());
    expected.push(expected[0].clone());
    let query =
        "query($a: [Address!]!) { reachability(addresses: $a) { address reachable generations } }";
    let data = indexed.ask(query, json!({ "a": asked })).await;
    let found = data["reachability"].as_array().unwrap();
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
}
