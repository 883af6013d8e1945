//! Questions about the schema, among others and many at once.

use futures::future::join_all;
use serde_json::{Value, json};

use super::{
    fixture::{Indexed, capture},
    server::Serving,
};
use crate::Exposure;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_schema_says_is_not_mixed_up() {
    let indexed = Indexed::with(capture().into_iter().take(1).collect()).await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let query = "query($n: String!, $more: Boolean = true) { t: __type(name: $n) { kind name } status { network } \
                 __schema @include(if: $more) { queryType { name } } }";
    let ask = async |variables: Value| {
        let got = serving.post(&json!({ "query": query, "variables": variables })).await.json();
        assert_eq!(got["errors"], Value::Null, "{got}");
        got["data"].clone()
    };
    for _ in 0..2 {
        for (name, kind) in
            [("Query", "OBJECT"), ("Address", "SCALAR"), ("AccountOrderField", "ENUM")]
        {
            let due = json!({
                "t": { "kind": kind, "name": name },
                "status": { "network": "test" },
                "__schema": { "queryType": { "name": "Query" } },
            });
            assert_eq!(ask(json!({ "n": name })).await, due);
        }
        let less = ask(json!({ "n": "Nothing", "more": false })).await;
        assert_eq!(less, json!({ "t": null, "status": { "network": "test" } }));
    }
    let wrong = serving.post(&json!({ "query": "{ __schema { nothing } }" })).await;
    assert_eq!(wrong.code(), "GRAPHQL_VALIDATION_FAILED");
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_for_the_schema_are_told_the_same() {
    let indexed = Indexed::with(capture().into_iter().take(1).collect()).await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let ask = async |query: &str| serving.post(&json!({ "query": query })).await;
    let query = "{ __schema { types { name fields { name args { name } type { name } } } } }";
    let told = join_all((0..20).map(|_| ask(query))).await;
    let first = told[0].json()["data"].clone();
    assert!(first["__schema"]["types"].as_array().unwrap().len() > 50, "{first}");
    assert!(told.iter().all(|got| got.status == 200 && got.json()["data"] == first));
    // The types may be listed twice.
    let twice = "{ a: __schema { types { name } } b: __schema { types { kind } } }";
    assert_eq!(ask(twice).await.json()["errors"], Value::Null);
    let often = twice.replacen('{', "{ c: __schema { types { name } }", 1);
    let got = ask(&often).await;
    assert_eq!(got.code(), "QUERY_TOO_COMPLEX", "{}", got.text());
    serving.end().await;
}
