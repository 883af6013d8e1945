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
            assert!(answer.response.errors.is_empty(), "{:?}", answer.response.errors);
            let data = answer.response.data.into_json().unwrap();
            assert_eq!(data[list]["nodes"].as_array().unwrap().len(), first);
            statements.push(answer.statements);
        }
        assert_eq!(statements[0], statements[1], "{list}");
        assert_eq!(statements[1], statements[2], "{list}");
        assert!(statements[0] <= 12, "{list}: {statements:?}");
    }
}

#[tokio::test]
async fn lists_inside_of_lists_are_bounded() {
    let indexed = Indexed::with(capture()).await;
    let lists: String =
        (0..20).map(|n| format!("l{n}: envelopes(first: 1) {{ nodes {{ size }} }} ")).collect();
    let query = format!("{{ topics(first: 100) {{ nodes {{ {lists} }} }} }}");
    let answer = indexed.answer(&query, json!({})).await;
    let error = serde_json::to_value(&answer.response.errors[0]).unwrap();
    assert_eq!(error["extensions"]["code"], "QUERY_TOO_COSTLY");
    // The next request finds a sound connection.
    assert_eq!(indexed.ask("{ status { network } }", json!({})).await["status"]["network"], "test");
}
