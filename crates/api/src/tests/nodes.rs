//! Single things: by id, by name, by digest; and what must never be told.

use serde_json::{Value, json};
use store::append::{Origin, Record};

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
async fn an_erased_message_leaves_its_kind_and_size() {
    let indexed = Indexed::with(capture()).await;
    let query = "query($name: String!) { topic(name: $name) { envelopes(first: 1) {
        nodes { id kind size erased message payload { __typename } } } } }";
    let dm = "{ topics(first: 1, filter: { kinds: [DIRECT_MESSAGE] }) { nodes { name } } }";
    let name = indexed.ask(dm, json!({})).await["topics"]["nodes"][0]["name"].clone();
    let name = name.as_str().unwrap();
    let node = async || {
        let data = indexed.ask(query, json!({ "name": name })).await;
        data["topic"]["envelopes"]["nodes"][0].clone()
    };
    let before = node().await;
    assert_eq!(before["erased"], false);
    assert!(before["message"].is_string() && before["payload"]["__typename"] == "Message");
    indexed.store.erase(&store::erase::Scope::Topic(name.to_owned()), false).await.unwrap();
    let mut wanted = before;
    wanted["erased"] = json!(true);
    wanted["message"] = Value::Null;
    wanted["payload"] = Value::Null;
    assert_eq!(node().await, wanted);
    let by_id = "query($id: ID!) { node(id: $id) { ... on Envelope { erased message } } }";
    let data = indexed.ask(by_id, json!({ "id": wanted["id"] })).await;
    assert_eq!(data["node"], json!({ "erased": true, "message": null }));
}

#[tokio::test]
async fn topics_of_bytes_are_found_by_their_text_form() {
    let indexed = Indexed::empty().await;
    let envelope = wire::Envelope {
        topic: b"\xff\xfe\x01".as_slice().into(),
        timestamp_ns: 7,
        message: b"x".as_slice().into(),
    };
    // Only sources that number their envelopes have such topics.
    let origin = Some(Origin { space: 1, sequence: 1 });
    indexed.append(vec![Record { envelope, origin }]).await;
    indexed.add(Vec::new()).await;
    let query = "{ topic(name: \"bytes/fffe01\") { id name envelopeCount } }";
    let found = indexed.ask(query, json!({})).await["topic"].clone();
    assert_eq!((&found["name"], &found["envelopeCount"]), (&json!("bytes/fffe01"), &json!("1")));
    let query = "query($id: ID!) { node(id: $id) { ... on Topic { name } }
        envelopes(filter: { topics: [\"bytes/fffe01\"] }) { totalCount } }";
    let data = indexed.ask(query, json!({ "id": found["id"] })).await;
    assert_eq!(data["node"]["name"], "bytes/fffe01");
    assert_eq!(data["envelopes"]["totalCount"], "1");
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
