//! What the specification says about executing a document (§6), on the way of this server to an answer.

use serde_json::{Value, json};

use super::fixture::{Indexed, capture};

/// Keys of objects, in the order of the text.
fn keys(text: &str) -> Vec<String> {
    // serde_json sorts; the text does not.
    text.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

#[tokio::test]
async fn selections_of_one_key_are_merged_in_the_order_of_their_first() {
    let indexed = Indexed::with(capture()).await;
    let query = "{
        b: invites(first: 1) { nodes { id } }
        ...Rest
        b: invites(first: 1) { nodes { sender { address } } pageInfo { hasNextPage } }
        ... on Query { b: invites(first: 1) { nodes { ...Sender deliveredToSender } } }
    }
    fragment Rest on Query { __typename b: invites(first: 1) { nodes { __typename id } } }
    fragment Sender on Invite { sender { __typename id } }";
    let text = indexed.text(query, json!({})).await;
    let order: Vec<String> =
        keys(&text).into_iter().take_while(|key| key != "extensions").collect();
    let place = |key: &str| order.iter().position(|known| known == key).unwrap();
    assert!(place("b") < place("__typename") && place("nodes") < place("pageInfo"), "{text}");
    assert!(
        place("id") < place("sender") && place("sender") < place("deliveredToSender"),
        "{text}"
    );
    assert_eq!(text.matches("\"b\":").count(), 1, "{text}");
    let data: Value = serde_json::from_str(&text).unwrap();
    let invite = &data["data"]["b"]["nodes"][0];
    assert_eq!(invite["__typename"], "Invite");
    assert_eq!(invite["sender"]["__typename"], "Account");
    assert!(invite["sender"]["address"].is_string() && invite["sender"]["id"].is_string());
    assert_eq!(data["data"]["__typename"], "Query");
}

#[tokio::test]
async fn directives_decide_anew_with_every_request() {
    let indexed = Indexed::with(capture()).await;
    let query = "query($with: Boolean!, $without: Boolean = true) { status {
        network @include(if: $with)
        head @skip(if: $without)
        ... @include(if: $with) { envelopeCount }
        ...Sources @skip(if: $with)
        queue @include(if: false) { depth }
    } }
    fragment Sources on Status { sources { name } }";
    let names = |data: &Value| -> Vec<String> {
        data["status"].as_object().unwrap().keys().cloned().collect()
    };
    for _ in 0..2 {
        let data = indexed.ask(query, json!({ "with": true })).await;
        assert_eq!(names(&data), ["envelopeCount", "network"]);
        let data = indexed.ask(query, json!({ "with": false, "without": false })).await;
        assert_eq!(names(&data), ["head", "sources"]);
    }
}

#[tokio::test]
async fn abstract_types_are_told_by_what_they_are() {
    let indexed = Indexed::with(capture()).await;
    let query =
        "query($kind: PayloadKind!) { envelopes(first: 1, filter: { kinds: [$kind] }) { nodes {
        kind
        payload {
            __typename
            ... on Node { id }
            ... on Invite { createdAt ... on Payload { ... on Invite { sender { address } } } }
            ... on ContactBundle { version account { address } }
            ...Sent
        }
    } } }
    fragment Sent on Message { sentAt generation }";
    let mut ids = Vec::new();
    for (kind, name, field, other) in [
        ("INVITE", "Invite", "sender", "version"),
        ("CONTACT_BUNDLE", "ContactBundle", "account", "sentAt"),
        ("MESSAGE_V1", "Message", "sentAt", "createdAt"),
    ] {
        let data = indexed.ask(query, json!({ "kind": kind })).await;
        let payload = &data["envelopes"]["nodes"][0]["payload"];
        assert_eq!(payload["__typename"], name);
        assert!(!payload[field].is_null(), "{payload}");
        assert!(payload.get(other).is_none(), "{payload}");
        ids.push(payload["id"].clone());
    }
    ids.insert(1, json!("nothing"));
    let data = indexed
        .ask(
            "query($ids: [ID!]!) { nodes(ids: $ids) { id __typename ... on Message { sentAt } } }",
            json!({ "ids": ids }),
        )
        .await;
    let names: Vec<_> =
        data["nodes"].as_array().unwrap().iter().map(|node| node["__typename"].clone()).collect();
    assert_eq!(names, [json!("Invite"), Value::Null, json!("ContactBundle"), json!("Message")]);
    assert_eq!(data["nodes"][0]["id"], ids[0]);
}

#[tokio::test]
async fn variables_and_defaults_become_arguments() {
    let indexed = Indexed::with(capture()).await;
    let query = "query($first: Int = 2, $kinds: [PayloadKind!] = INVITE, $after: String) {
        envelopes(first: $first, after: $after, filter: { kinds: $kinds }) { nodes { kind } }
    }";
    let kinds = |data: &Value| -> Vec<String> {
        let nodes = data["envelopes"]["nodes"].as_array().unwrap();
        nodes.iter().map(|node| node["kind"].as_str().unwrap().to_owned()).collect()
    };
    let asked = indexed.ask(query, json!({})).await;
    assert_eq!(kinds(&asked), ["INVITE", "INVITE"]);
    let asked = indexed.ask(query, json!({ "first": 1, "kinds": "MESSAGE_V2", "more": 1 })).await;
    assert_eq!(kinds(&asked), ["MESSAGE_V2"]);
    // null is not the default: no filter at all, and the page of its usual size.
    let asked = indexed.ask(query, json!({ "first": null, "kinds": null })).await;
    assert_eq!(kinds(&asked).len(), 50);
}

#[tokio::test]
async fn variables_that_do_not_fit_are_found_however_often_the_document_was_seen() {
    let indexed = Indexed::with(capture()).await;
    let query = "query($first: Int, $who: Address) {
        invites(first: $first, filter: { sender: $who }) { nodes { id } }
    }";
    indexed.ask(query, json!({ "first": 1 })).await;
    for wrong in [json!({ "first": "one" }), json!({ "first": 1.5 }), json!({ "who": 7 })] {
        let answer = indexed.answer(query, wrong.clone()).await;
        assert_eq!(answer.errors.len(), 1, "{wrong}: {:?}", answer.errors);
        assert_eq!(answer.statements, 0, "{wrong}");
    }
    let answer = indexed.answer(query, json!({ "who": "0xnobody" })).await;
    assert_eq!(answer.errors[0]["extensions"]["code"], "BAD_USER_INPUT");
    assert!(!answer.errors[0].to_string().contains("occurred while"), "{:?}", answer.errors);
    indexed.ask(query, json!({ "first": 1 })).await;
}

#[tokio::test]
async fn what_may_not_be_null_takes_what_holds_it_along() {
    let indexed = Indexed::with(capture()).await;
    let cursor = "AQAAAAAAAAAAAAAAAAE";
    // A connection must be there: the account that has none is null, and the rest is as asked.
    let query = "query($after: String) {
        status { network }
        invites(first: 2) { nodes { sender { address invites(after: $after) { nodes { id } } } } }
        account(address: \"0xF0AaB66E6c64557D426d80F0067042067ac2df8B\") {
            address conversations(first: 1, after: $after) { nodes { id } }
        }
    }";
    let answer = indexed.answer(query, json!({ "after": cursor })).await;
    assert_eq!(answer.data, Value::Null, "a list of the root may not be null: {:?}", answer.data);
    let query = query.replace("invites(first: 2) { nodes", "node(id: \"QWNjb3VudDoweGYwYWFiNjZlNmM2NDU1N2Q0MjZkODBmMDA2NzA0MjA2N2FjMmRmOGI\") { ... on Account { contactBundle");
    let query = query.replace(
        "{ sender { address invites(after: $after) { nodes { id } } } } }",
        "{ account { topics(after: $after) { nodes { id } } } } } }",
    );
    let answer = indexed.answer(&query, json!({ "after": cursor })).await;
    assert_eq!(answer.data["account"], Value::Null);
    assert_eq!(answer.data["node"]["contactBundle"], Value::Null);
    assert_eq!(answer.data["status"]["network"], "test");
    let paths: Vec<_> = answer.errors.iter().map(|error| error["path"].clone()).collect();
    assert!(paths.contains(&json!(["account", "conversations"])), "{paths:?}");
    assert!(paths.contains(&json!(["node", "contactBundle", "account", "topics"])), "{paths:?}");
    for error in &answer.errors {
        assert_eq!(error["extensions"]["code"], "BAD_CURSOR");
        assert!(error["locations"][0]["line"].as_u64().unwrap() > 1, "{error}");
    }
}

#[tokio::test]
async fn questions_about_the_schema_stand_beside_others() {
    let indexed = Indexed::with(capture()).await;
    let query = "{
        first: __type(name: \"Invite\") { name fields { name description type { kind ofType { name } } } }
        status { network __typename }
        ...Roots
    }
    fragment Roots on Query { __schema { queryType { name } subscriptionType { name fields { name } } } }";
    for _ in 0..2 {
        let data = indexed.ask(query, json!({})).await;
        assert_eq!(data["first"]["name"], "Invite");
        assert_eq!(data["status"], json!({ "network": "test", "__typename": "Status" }));
        assert_eq!(data["__schema"]["queryType"]["name"], "Query");
        assert_eq!(data["__schema"]["subscriptionType"]["name"], "Subscription");
        for field in data["first"]["fields"].as_array().unwrap() {
            assert!(!field["description"].as_str().unwrap().is_empty(), "{field}");
        }
    }
}

#[tokio::test]
async fn a_cursor_of_one_list_fits_that_one_among_many() {
    let indexed = Indexed::with(capture()).await;
    let query = "query($after: String) { accounts(first: 20, orderBy: { field: FIRST_SEEN, direction: ASC }) {
        edges { node { address invites(first: 1, after: $after) { edges { cursor } } } }
    } }";
    let data = indexed.ask(query, json!({})).await;
    let first: Vec<&Value> = data["accounts"]["edges"].as_array().unwrap().iter().collect();
    let cursor = first
        .iter()
        .find_map(|edge| edge["node"]["invites"]["edges"][0]["cursor"].as_str())
        .unwrap();
    // Non-null all the way up: one that does not fit makes nothing of the whole, and says where.
    let answer = indexed.answer(query, json!({ "after": cursor })).await;
    assert_eq!(answer.data, Value::Null);
    assert_eq!(answer.errors[0]["extensions"]["code"], "BAD_CURSOR");
    assert_eq!(answer.errors[0]["path"][1], "edges");
}
