//! The number of statements follows from the shape of a query, not from the number of rows.

use serde_json::json;

use super::fixture::{Indexed, capture};

const INVITES: &str = "query($first: Int) { invites(first: $first) { nodes {
    id createdAt
    sender { address firstSeenAt contactBundle { publishedAt current identityKey { bytes } } }
    recipient { address firstSeenAt contactBundle { publishedAt current envelope { digest } } }
    envelopes { digest topic { name envelopeCount } payload { __typename ... on Invite { id } } }
} } }";

const ENVELOPES: &str = "query($first: Int) { envelopes(
    first: $first, filter: { kinds: [MESSAGE_V1] }, orderBy: { field: TIMESTAMP, direction: DESC }
) {
    nodes { id topic { id name kind } message undecodable payload { __typename
        ... on Message { id conversation { id topic { name } } sender { contactBundle { id } } envelopes { id } }
        } }
} }";

#[tokio::test]
async fn a_page_of_fifty_takes_as_many_statements_as_a_page_of_two() {
    let indexed = Indexed::with(capture()).await;
    for (query, list) in [(INVITES, "invites"), (ENVELOPES, "envelopes")] {
        let mut statements = Vec::new();
        for first in [2, 50, 76] {
            let answer = indexed.answer(query, json!({ "first": first })).await;
            assert!(answer.errors.is_empty(), "{:?}", answer.errors);
            let data = answer.data;
            assert_eq!(data[list]["nodes"].as_array().unwrap().len(), first);
            statements.push(answer.statements);
        }
        assert_eq!(statements[0], statements[1], "{list}");
        assert_eq!(statements[1], statements[2], "{list}");
        assert!(statements[0] <= 12, "{list}: {statements:?}");
    }
}

/// Lists inside of lists inside of a list, one of them counted.
const NESTED: &str = "query($first: Int) { accounts(first: $first) { nodes {
    invites(first: 3) { totalCount nodes { id sender { conversations(first: 2) { nodes { messages(first: 2) { nodes { id } } } } } } }
    topics(first: 2, last: null) { nodes { envelopes(first: 2) { totalCount edges { cursor node { size } } } } }
    contactBundles(first: 1) { nodes { current } }
} } }";

#[tokio::test]
async fn lists_inside_of_lists_are_one_statement_each() {
    let indexed = Indexed::with(capture()).await;
    let mut statements = Vec::new();
    for first in [20, 40] {
        let answer = indexed.answer(NESTED, json!({ "first": first })).await;
        assert!(answer.errors.is_empty(), "{:?}", answer.errors);
        assert_eq!(answer.data["accounts"]["nodes"].as_array().unwrap().len(), first);
        statements.push(answer.statements);
    }
    assert_eq!(statements[0], statements[1]);
    // At most the head, seven lists, one count and one look-up of current bundles.
    assert!(statements[0] <= 10, "{statements:?}");
}

#[tokio::test]
async fn one_statement_needs_no_other() {
    let indexed = Indexed::with(capture()).await;
    let bundle = "contactBundle { version publishedAt preKey { bytes } }";
    for query in [
        format!(
            "{{ invites(first: 50) {{ edges {{ cursor node {{ sender {{ address {bundle} }} recipient {{ {bundle} }} }} }} }} }}"
        ),
        "{ envelopes(first: 5) { nodes { kind } pageInfo { hasNextPage } } }".into(),
        "{ analytics { totals { envelopes invites } } }".into(),
        "{ invites { totalCount } }".into(),
        "{ topic(name: \"nothing\") { name } }".into(),
    ] {
        let answer = indexed.answer(&query, json!({})).await;
        assert!(answer.errors.is_empty(), "{:?}", answer.errors);
        let expected = if query.contains("totalCount") { 3 } else { 1 };
        assert_eq!(answer.statements, expected, "{query}");
        assert!(answer.extensions["head"].is_string(), "{query}: {:?}", answer.extensions);
    }
}

#[tokio::test]
async fn more_statements_than_a_request_may_need_are_refused() {
    let indexed = Indexed::with(capture()).await;
    let fields: String = (0..15)
        .map(|n| format!("t{n}: topics(first: 1) {{ nodes {{ envelopes(first: 1) {{ nodes {{ message undecodable payload {{ __typename }} topic {{ id }} }} }} }} }} "))
        .collect();
    assert_eq!(indexed.code(&format!("{{ {fields} }}"), json!({})).await, "QUERY_TOO_COSTLY");
    assert_eq!(indexed.ask("{ status { network } }", json!({})).await["status"]["network"], "test");
}
