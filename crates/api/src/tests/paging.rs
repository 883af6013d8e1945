//! Pages as Relay says, and errors where an argument cannot be.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::fixture::{Indexed, capture};

const LISTS: [&str; 9] = [
    "topics(PAGE)",
    "topics(PAGE, filter: { kinds: [CONVERSATION] }, orderBy: { field: ENVELOPE_COUNT, direction: ASC })",
    "envelopes(PAGE, filter: { kinds: [INVITE, CONTACT_BUNDLE] })",
    "accounts(PAGE)",
    "contactBundles(PAGE, filter: { currentOnly: true })",
    "invites(PAGE, orderBy: { direction: ASC })",
    "conversations(PAGE)",
    "messages(PAGE, filter: { generation: V1 })",
    "envelopes(PAGE, filter: { topicKinds: [CONTACT] }, orderBy: { field: TIMESTAMP, direction: DESC })",
];

fn query(list: &str, page: &str) -> String {
    let list = list.replace("PAGE", page);
    format!(
        "query($n: Int, $at: String) {{ list: {list} {{ totalCount edges {{ cursor node {{ id }} }}
           pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }} }} }}"
    )
}

async fn walk(indexed: &Indexed, list: &str, size: u32, backward: bool) -> Vec<Value> {
    let (page, end, more) = if backward {
        ("last: $n, before: $at", "startCursor", "hasPreviousPage")
    } else {
        ("first: $n, after: $at", "endCursor", "hasNextPage")
    };
    let (mut all, mut at) = (Vec::new(), Value::Null);
    loop {
        let data = indexed.ask(&query(list, page), json!({ "n": size, "at": at })).await;
        let list = &data["list"];
        let edges = list["edges"].as_array().unwrap();
        if let (Some(first), Some(last)) = (edges.first(), edges.last()) {
            assert_eq!(list["pageInfo"]["startCursor"], first["cursor"]);
            assert_eq!(list["pageInfo"]["endCursor"], last["cursor"]);
        }
        let nodes = edges.iter().map(|edge| edge["node"]["id"].clone());
        if backward {
            all.splice(0..0, nodes);
        } else {
            all.extend(nodes);
        }
        at = list["pageInfo"][end].clone();
        if list["pageInfo"][more] != true {
            assert_eq!(list["totalCount"], all.len().to_string());
            return all;
        }
    }
}

#[tokio::test]
async fn every_list_gives_each_row_once_in_both_directions() {
    let indexed = Indexed::with(capture()).await;
    let mut random = StdRng::seed_from_u64(20);
    for list in LISTS {
        let forward = walk(&indexed, list, random.random_range(20..500), false).await;
        let backward = walk(&indexed, list, random.random_range(20..500), true).await;
        assert!(forward.len() > 20, "{list}: {}", forward.len());
        assert!(forward == backward, "{list}");
        let distinct: std::collections::HashSet<_> =
            forward.iter().map(|id| id.as_str().unwrap()).collect();
        assert_eq!(distinct.len(), forward.len(), "{list}");
    }
}

#[tokio::test]
async fn arguments_that_cannot_be_are_errors() {
    let indexed = Indexed::with(capture().into_iter().take(200).collect()).await;
    for page in ["first: 1, last: 1", "first: -1", "last: -1", "first: 501", "last: 501"] {
        let query = format!("{{ topics({page}) {{ nodes {{ id }} }} }}");
        assert_eq!(indexed.code(&query, json!({})).await, "BAD_USER_INPUT", "{page}");
    }
    for cursor in ["", "x", "AgAAAAAA"] {
        let query = format!("{{ invites(after: \"{cursor}\") {{ nodes {{ id }} }} }}");
        assert_eq!(indexed.code(&query, json!({})).await, "BAD_CURSOR", "{cursor}");
    }
    let cursor = |data: Value| data["topics"]["pageInfo"]["endCursor"].as_str().unwrap().to_owned();
    let page = "{ topics(first: 1) { pageInfo { endCursor hasNextPage hasPreviousPage } } }";
    let made = cursor(indexed.ask(page, json!({})).await);
    let with = |arguments: &str| {
        format!("{{ topics(after: \"{made}\"{arguments}) {{ nodes {{ id }} }} }}")
    };
    indexed.ask(&with(""), json!({})).await;
    for other in [
        ", filter: { kinds: [CONTACT] }",
        ", orderBy: { field: FIRST_SEEN, direction: DESC }",
        ", orderBy: { field: LAST_SEEN, direction: ASC }",
    ] {
        assert_eq!(indexed.code(&with(other), json!({})).await, "BAD_CURSOR", "{other}");
    }
    let nothing = "{ topics(first: 0) { nodes { id } pageInfo { hasNextPage endCursor } } }";
    let nothing = indexed.ask(nothing, json!({})).await;
    let expected = json!({ "nodes": [], "pageInfo": { "hasNextPage": true, "endCursor": null } });
    assert_eq!(nothing["topics"], expected);
}

#[tokio::test]
async fn cursors_of_another_database_are_refused() {
    let envelopes: Vec<_> = capture().into_iter().take(50).collect();
    let (one, other) = (Indexed::with(envelopes.clone()).await, Indexed::with(envelopes).await);
    for list in ["topics", "envelopes"] {
        let page = format!("{{ {list}(first: 1) {{ pageInfo {{ endCursor }} }} }}");
        let made = one.ask(&page, json!({})).await[list]["pageInfo"]["endCursor"].clone();
        let next = format!("query($at: String) {{ {list}(after: $at) {{ nodes {{ id }} }} }}");
        assert!(one.answer(&next, json!({ "at": made })).await.errors.is_empty());
        let refused = other.answer(&next, json!({ "at": made })).await;
        let error = &refused.errors[0];
        assert_eq!(error["extensions"]["code"], "BAD_CURSOR");
        assert!(error["message"].as_str().unwrap().contains("another database"), "{error}");
    }
}

#[tokio::test]
async fn answers_tell_their_head_and_the_head_is_a_place_to_go_on_from() {
    let mut envelopes = capture();
    let later = envelopes.split_off(100);
    let indexed = Indexed::with(envelopes).await;
    let answer = indexed
        .answer(
            "{ status { head envelopeCount queue { depth unacknowledged parked answering } } }",
            json!({}),
        )
        .await;
    let extensions = answer.extensions;
    let data = answer.data;
    assert_eq!(data["status"]["head"], extensions["head"]);
    assert_eq!(data["status"]["envelopeCount"], "100");
    assert_eq!(extensions["lag"], 0);
    let queue = json!({ "depth": "3", "unacknowledged": "2", "parked": "0", "answering": true });
    assert_eq!(data["status"]["queue"], queue);

    let query = "query($at: String) {
        envelopes(first: 2, after: $at, filter: { kinds: [MESSAGE_V1] }) { totalCount nodes { digest } } }";
    let at_head = indexed.ask(query, json!({ "at": extensions["head"] })).await;
    assert_eq!(at_head["envelopes"]["nodes"], json!([]));
    let digest = later
        .iter()
        .find(|e| {
            wire::Topic::parse(std::str::from_utf8(&e.topic).unwrap()).kind()
                == wire::TopicKind::DirectMessage
        })
        .unwrap()
        .digest();
    indexed.add(later).await;
    let after = indexed.ask(query, json!({ "at": extensions["head"] })).await;
    let found = after["envelopes"]["nodes"].as_array().unwrap();
    assert!(found.iter().any(|node| node["digest"] == format!("0x{digest}")), "{found:?}");
    // A question that asks nothing of the database needs none.
    assert_eq!(indexed.answer("{ __typename }", json!({})).await.statements, 0);
}
