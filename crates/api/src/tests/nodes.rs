//! Single things: by id, by name, by digest; and what must never be told.

use serde_json::{Value, json};

use super::fixture::{Indexed, capture};

#[tokio::test]
async fn everything_that_has_an_id_can_be_asked_for_by_it() {
    let indexed = Indexed::with(capture()).await;
    let data = indexed
        .ask(
            "{
                topics(first: 3) { nodes { id __typename } }
                envelopes(first: 3) { nodes { id __typename } }
                accounts(first: 3) { nodes { id __typename } }
                contactBundles(first: 3) { nodes { id __typename } }
                invites(first: 3) { nodes { id __typename } }
                conversations(first: 3) { nodes { id __typename } }
                messages(first: 3) { nodes { id __typename } }
            }",
            json!({}),
        )
        .await;
    let mut wanted: Vec<Value> = data
        .as_object()
        .unwrap()
        .values()
        .flat_map(|list| list["nodes"].as_array().unwrap().clone())
        .collect();
    assert_eq!(wanted.len(), 21);
    let one = indexed
        .ask(
            "query($id: ID!) { node(id: $id) { id __typename } }",
            json!({ "id": wanted[4]["id"] }),
        )
        .await;
    assert_eq!(one["node"], wanted[4]);
    let mut ids: Vec<Value> = wanted.iter().map(|node| node["id"].clone()).collect();
    ids.insert(5, json!("bm9ib2R5"));
    wanted.insert(5, Value::Null);
    let answer = indexed
        .answer("query($ids: [ID!]!) { nodes(ids: $ids) { id __typename } }", json!({ "ids": ids }))
        .await;
    assert_eq!(answer.data["nodes"], Value::Array(wanted));
    assert!(answer.statements <= 9, "{} statements", answer.statements);
}

#[tokio::test]
async fn what_is_not_there_is_null_and_what_cannot_be_is_an_error() {
    let indexed = Indexed::with(capture().into_iter().take(20).collect()).await;
    let data = indexed
        .ask(
            "{
                topic(name: \"/xmtp/0/nothing\") { id }
                nul: topic(name: \"\\u0000\") { id }
                account(address: \"0x0000000000000000000000000000000000000001\") { id }
                envelope(digest: \"0x0000000000000000000000000000000000000000000000000000000000000000\") { id }
                node(id: \"?\") { id }
                none: topics(filter: { nameStartsWith: \"\\u0000\" }) { nodes { id } totalCount }
                nobody: envelopes(filter: { topics: [] }) { nodes { id } totalCount }
            }",
            json!({}),
        )
        .await;
    for name in ["topic", "nul", "account", "envelope", "node"] {
        assert_eq!(data[name], Value::Null, "{name}");
    }
    for name in ["none", "nobody"] {
        assert_eq!(data[name], json!({ "nodes": [], "totalCount": "0" }), "{name}");
    }
    let short = "{ envelope(digest: \"0x00\") { id } }";
    assert_eq!(indexed.code(short, json!({})).await, "BAD_USER_INPUT");
    let many = vec!["0x0000000000000000000000000000000000000001"; 501];
    let query = "query($a: [Address!]!) { reachability(addresses: $a) { reachable } }";
    assert_eq!(indexed.code(query, json!({ "a": many })).await, "BAD_USER_INPUT");
    let wrong = indexed.answer(query, json!({ "a": ["alice.eth"] })).await;
    assert_eq!(wrong.errors.len(), 1);
    assert_eq!(wrong.statements, 0);
}

#[tokio::test]
async fn private_stores_never_leave() {
    let envelopes = capture();
    let secrets: Vec<Vec<u8>> = envelopes
        .iter()
        .filter(|e| e.topic.starts_with(b"/xmtp/0/privatestore-"))
        .map(|e| e.message.to_vec())
        .collect();
    assert!(secrets.len() > 10);
    let indexed = Indexed::with(envelopes).await;
    let query = "query($first: Int, $after: String) {
        envelopes(first: $first, after: $after, filter: { topicKinds: [PRIVATE_STORE] }) {
            nodes { kind size message payload { __typename } undecodable topic { kind account { address } } }
            pageInfo { hasNextPage endCursor }
        }
    }";
    let nodes = indexed.all(query, 500).await;
    assert_eq!(nodes.len(), secrets.len());
    for node in &nodes {
        assert_eq!(node["kind"], "PRIVATE_STORE");
        assert_eq!(node["message"], Value::Null);
        assert_eq!(node["payload"], Value::Null);
        assert_ne!(node["topic"]["account"], Value::Null);
    }
    // Beside them, others' bytes are served as they were published.
    let data =
        indexed.ask("{ envelopes(first: 2) { nodes { digest size message } } }", json!({})).await;
    let served = data["envelopes"]["nodes"][1]["message"].as_str().unwrap();
    let published = wire::json::to_line("t", 0, &capture()[1].message);
    assert!(published.contains(served));
}

#[tokio::test]
async fn what_cannot_be_read_says_why() {
    let indexed = Indexed::with(vec![wire::Envelope {
        topic: b"/xmtp/0/m-x/proto".as_slice().into(),
        timestamp_ns: u64::MAX,
        message: b"not a message".as_slice().into(),
    }])
    .await;
    let data = indexed
        .ask(
            "{ envelopes { nodes { kind undecodable payload { __typename } timestamp timestampNs } }
               conversations { nodes { messageCount lastMessageAt } pageInfo { endCursor } } }",
            json!({}),
        )
        .await;
    let envelope = &data["envelopes"]["nodes"][0];
    assert_eq!(envelope["kind"], "UNDECODABLE");
    assert!(!envelope["undecodable"].as_str().unwrap().is_empty());
    assert_eq!(envelope["payload"], Value::Null);
    assert_eq!(envelope["timestamp"], "2554-07-21T23:34:33.709551615Z");
    assert_eq!(envelope["timestampNs"], u64::MAX.to_string());
    assert_eq!(
        data["conversations"]["nodes"][0],
        json!({ "messageCount": "0", "lastMessageAt": null })
    );
}

#[tokio::test]
async fn too_many_bytes_at_once_are_refused() {
    let big = vec![7; 9 << 20];
    let envelopes = (0..4)
        .map(|n| wire::Envelope {
            topic: format!("/xmtp/0/m-{n}/proto").into(),
            timestamp_ns: n,
            message: big.clone().into(),
        })
        .collect();
    let indexed = Indexed::with(envelopes).await;
    // The field has no value for any of them, and each says why.
    let answer = indexed.answer("{ envelopes { nodes { message } } }", json!({})).await;
    assert_eq!(answer.errors.len(), 4);
    assert!(answer.errors.iter().all(|one| one["extensions"]["code"] == "ANSWER_TOO_LARGE"));
    let data = indexed.ask("{ envelopes(first: 3) { nodes { message } } }", json!({})).await;
    assert_eq!(data["envelopes"]["nodes"].as_array().unwrap().len(), 3);
}
