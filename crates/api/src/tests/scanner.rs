//! The requests that scanners of GraphQL servers send to find one that can be abused, and what they find here.

use serde_json::{Value, json};

use super::{
    fixture::{Indexed, capture},
    server::{Got, Serving},
};
use crate::Exposure;

/// Refused with this code, by a few bytes that repeat nothing of the request and tell nothing of the inside.
fn refused(name: &str, got: &Got, code: &str) {
    assert!((400..500).contains(&got.status), "{name}: {} {}", got.status, got.text());
    assert_eq!(got.code(), code, "{name}: {}", got.text());
    assert!(got.bytes.len() < 600, "{name}: {} bytes", got.bytes.len());
    let text = got.text();
    for inside in ["panicked", ".rs:", "select ", "postgres", "zzzz", "stack"] {
        assert!(!text.contains(inside), "{name}: {text}");
    }
    assert!(got.json().get("data").is_none(), "{name}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn scanners_find_nothing() {
    let indexed = Indexed::with(capture().into_iter().take(60).collect()).await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let accept = "accept: application/graphql-response+json\r\n";
    let ask = async |query: String| serving.post_with(accept, &json!({ "query": query })).await;

    // One cheap field under a hundred names.
    let aliases: String = (0..101).map(|n| format!("zzzz{n}: head ")).collect();
    refused("aliases", &ask(format!("{{ status {{ {aliases} }} }}")).await, "TOO_MANY_ALIASES");

    // Ten requests in one body.
    let batch: Vec<Value> = (0..10).map(|_| json!({ "query": "{ __typename }" })).collect();
    let got = serving.post_with(accept, &Value::from(batch)).await;
    assert_eq!(got.status, 400, "{}", got.text());
    assert!(got.json().is_object(), "a batch is not answered as one: {}", got.text());

    // Directives that do not exist, and many of one that does.
    let directives = "@zzzz".repeat(10);
    refused(
        "unknown directives",
        &ask(format!("{{ __typename {directives} }}")).await,
        "GRAPHQL_VALIDATION_FAILED",
    );
    let directives = "@include(if: true) ".repeat(60);
    refused(
        "directives",
        &ask(format!("{{ __typename {directives} }}")).await,
        "TOO_MANY_DIRECTIVES",
    );

    // Introspection that goes round in circles.
    let circle = "fields { type { ".repeat(16);
    let circle = format!("{{ __schema {{ types {{ {circle} name {} }} }} }}", "} } ".repeat(16));
    refused("circles", &ask(circle).await, "QUERY_TOO_DEEP");

    // The same field, thousands of times.
    let fields = "__typename ".repeat(2_500);
    let got = ask(format!("{{ {fields} }}")).await;
    assert!(matches!(got.status, 400 | 413), "{}", got.text());
    assert!(got.bytes.len() < 600 && got.json().get("data").is_none(), "{}", got.text());

    // No other site may have a browser change anything: there is nothing to change, and no form is read.
    let got = serving.send("GET", "/graphql?query=mutation%20%7B%20a%20%7D", accept, b"").await;
    assert_eq!(got.status, 405, "{}", got.text());
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let got = serving.send("POST", "/graphql", form, b"query=%7B__typename%7D").await;
    assert_eq!(got.status, 415, "{}", got.text());

    // No traces, whoever asks for them.
    let tracing =
        format!("{accept}x-apollo-tracing: 1\r\napollo-federation-include-trace: ftv1\r\n");
    let got = serving.post_with(&tracing, &json!({ "query": "{ __typename }" })).await;
    let keys: Vec<String> = got.json()["extensions"]
        .as_object()
        .map(|extensions| extensions.keys().cloned().collect())
        .unwrap_or_default();
    assert!(keys.iter().all(|key| key == "head" || key == "lag"), "{keys:?}");

    // A document that is none is not sent back.
    refused("no document", &ask("query zzzz {".into()).await, "GRAPHQL_PARSE_FAILED");
    refused("no query", &serving.post_with(accept, &json!({ "zzzz": 1 })).await, "BAD_REQUEST");
    serving.end().await;

    // What an operator does not want shown is not there.
    let exposure = Exposure { introspection: false, graphiql: false, ..Exposure::default() };
    let serving = Serving::begin(&indexed, exposure);
    let got =
        serving.post_with(accept, &json!({ "query": "{ __schema { types { name } } }" })).await;
    assert!(got.json()["data"]["__schema"].is_null(), "{}", got.text());
    // A name that is nearly right is not completed.
    let got = serving.post_with(accept, &json!({ "query": "{ statu { head } }" })).await;
    refused("suggestions", &got, "GRAPHQL_VALIDATION_FAILED");
    assert!(!got.text().contains("status"), "{}", got.text());
    for page in ["/graphiql", "/playground", "/console", "/altair"] {
        assert_eq!(serving.send("GET", page, "", b"").await.status, 404, "{page}");
    }
    serving.end().await;
}
