//! What a server shows to the world, and what it refuses: over a real socket.

use std::{io::Read as _, num::NonZeroU32, time::Duration};

use serde_json::{Value, json};

use super::{
    fixture::{Indexed, capture},
    server::{Got, Serving},
};
use crate::{
    Cors, Exposure, Persisted, Rate, Trusted,
    guard::hash,
    hostile::{Due, Request, requests, tells_nothing},
};

const RESPONSE: &str = "accept: application/graphql-response+json\r\n";

async fn small() -> Indexed {
    Indexed::with(capture().into_iter().take(120).collect()).await
}

/// The path of a query in an address.
fn link(parameters: &[(&str, &str)]) -> String {
    let encode =
        |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02X}")).collect() };
    let pairs: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    format!("/graphql?{}", pairs.join("&"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_hostile_is_refused_and_not_repeated() {
    let indexed = small().await;
    let exposure = Exposure { body_timeout: Duration::from_millis(400), ..Exposure::default() };
    let serving = Serving::begin(&indexed, exposure);
    for Request { name, method, path, headers, body, stalls, due } in requests() {
        let length = match headers.contains("chunked") {
            true => String::new(),
            false => format!("content-length: {}\r\n", body.len() + usize::from(stalls)),
        };
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}{length}\r\n"
        );
        let got = serving.raw(&head, &body).await;
        let (Due::Refused(statuses, code) | Due::Late(statuses, code)) = due else {
            assert_eq!(got.status, 200, "{name}: {}", got.text());
            assert!(got.json().get("errors").is_none(), "{name}: {}", got.text());
            continue;
        };
        assert!(statuses.contains(&got.status), "{name}: {} {}", got.status, got.text());
        assert!(!got.code().is_empty() && got.code().contains(code), "{name}: {}", got.text());
        // A field whose argument cannot be read is null, where it may be.
        let answered = match &got.json()["data"] {
            serde_json::Value::Object(fields) => fields.values().any(|value| !value.is_null()),
            data => !data.is_null(),
        };
        assert!(!answered, "{name}: {}", got.text());
        assert!(got.bytes.len() < 700, "{name}: {}", got.bytes.len());
        tells_nothing(&body, &got.bytes).unwrap_or_else(|what| panic!("{name}: {what}"));
    }
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_have_codes_and_statuses_that_fit_the_caller() {
    let indexed = small().await;
    let serving = Serving::begin(&indexed, Exposure::default());
    for (query, code) in [
        ("{ nothing }", "GRAPHQL_VALIDATION_FAILED"),
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("query($a: Int!) { topics(first: $a) { nodes { id } } }", "GRAPHQL_VALIDATION_FAILED"),
    ] {
        let new = serving.post_with(RESPONSE, &json!({ "query": query })).await;
        assert_eq!((new.status, new.code().as_str()), (400, code), "{query}: {}", new.text());
        assert!(new.json().get("data").is_none(), "{}", new.text());
        assert!(
            new.header("content-type").unwrap().starts_with("application/graphql-response+json")
        );
        let old = serving.post(&json!({ "query": query })).await;
        assert_eq!((old.status, old.code().as_str()), (200, code), "{query}: {}", old.text());
    }
    let bad = serving
        .post_with(RESPONSE, &json!({ "query": "{ topics(first: 501) { nodes { id } } }" }))
        .await;
    assert_eq!((bad.status, bad.code().as_str()), (200, "BAD_USER_INPUT"), "{}", bad.text());
    assert_eq!(bad.json()["data"], Value::Null);
    let long = format!("{{ {} }}", "x".repeat(10_000));
    let got = serving.post_with(RESPONSE, &json!({ "query": long })).await;
    assert!(got.bytes.len() < 700, "{}", got.bytes.len());
    let cost = serving
        .post(&json!({ "query": "{ status { network } }", "extensions": { "cost": true } }))
        .await;
    assert_eq!(cost.json()["extensions"]["cost"], json!({ "requested": 2, "limit": 50_000 }));
    assert!(cost.header("x-request-id").is_some());
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_bounded_in_bytes_and_time() {
    let indexed = small().await;
    let mut exposure = Exposure { timeout: Duration::from_nanos(1), ..Exposure::default() };
    let serving = Serving::begin(&indexed, exposure.clone());
    let page = json!({ "query": "{ envelopes(first: 100) { nodes { digest topic { name } } } }" });
    let got = serving.post(&page).await;
    assert_eq!((got.status, got.code().as_str()), (504, "TIMEOUT"), "{}", got.text());
    let told = &got.json()["errors"][0]["extensions"];
    assert_eq!(told["limit"], 0, "milliseconds");
    assert!(told["actual"].is_u64(), "{told}");
    serving.end().await;
    exposure.timeout = Duration::from_secs(15);
    exposure.limits.answer_bytes = 5_000;
    let serving = Serving::begin(&indexed, exposure);
    let got = serving.post(&page).await;
    assert_eq!((got.status, got.code().as_str()), (400, "ANSWER_TOO_LARGE"), "{}", got.text());
    assert_eq!(got.json()["errors"][0]["extensions"]["limit"], 5_000);
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn introspection_can_be_switched_off() {
    let indexed = small().await;
    let exposure = Exposure { introspection: false, ..Exposure::default() };
    let serving = Serving::begin(&indexed, exposure);
    for query in ["{ __schema { types { name } } }", "{ __type(name: \"Query\") { name } }"] {
        let got = serving.post(&json!({ "query": query })).await;
        assert!(!got.text().contains("Query\""), "{}", got.text());
    }
    let got = serving.post(&json!({ "query": "{ statu }" })).await;
    assert!(!got.text().contains("Did you mean"), "{}", got.text());
    let got = serving.post(&json!({ "query": "{ __typename }" })).await;
    assert_eq!(got.json()["data"]["__typename"], "Query");
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_are_known_by_their_hash() {
    let indexed = small().await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let text = "query Named { status { network } }";
    let id = hex::encode(hash(text));
    let persisted = json!({ "persistedQuery": { "version": 1, "sha256Hash": id } });
    let first = serving.post(&json!({ "extensions": persisted })).await;
    assert_eq!((first.status, first.code().as_str()), (200, "PERSISTED_QUERY_NOT_FOUND"));
    let with = serving.post(&json!({ "query": text, "extensions": persisted })).await;
    assert_eq!(with.json()["data"]["status"]["network"], "test");
    let path = link(&[("extensions", &persisted.to_string())]);
    let again = serving.send("GET", &path, "", b"").await;
    assert_eq!(again.json()["data"]["status"]["network"], "test", "{}", again.text());
    serving.end().await;

    let trusted = Trusted::read(&json!({ "network": text }).to_string()).unwrap();
    let exposure = Exposure { persisted: Persisted::Only, trusted, ..Exposure::default() };
    let serving = Serving::begin(&indexed, exposure);
    let listed = json!({ "extensions": { "persistedQuery": { "sha256Hash": "network" } } });
    assert_eq!(serving.post(&listed).await.json()["data"]["status"]["network"], "test");
    let other = serving.post(&json!({ "query": "{ __typename }" })).await;
    assert_eq!((other.status, other.code().as_str()), (403, "FORBIDDEN"));
    serving.end().await;

    // Switched off: a hash says nothing, before and after its document was sent beside it.
    let exposure = Exposure { persisted: Persisted::Off, ..Exposure::default() };
    let serving = Serving::begin(&indexed, exposure);
    let hash_alone = json!({ "extensions": persisted });
    for _ in 0..2 {
        let got = serving.post(&hash_alone).await;
        let known = "PERSISTED_QUERY_NOT_SUPPORTED";
        assert_eq!((got.status, got.code().as_str()), (200, known), "{}", got.text());
        // The words that clients stop asking by.
        assert_eq!(got.json()["errors"][0]["message"], "PersistedQueryNotSupported");
        let got = serving.send("GET", &path, "", b"").await;
        assert_eq!((got.status, got.code().as_str()), (200, known), "{}", got.text());
        let new = serving.post_with(RESPONSE, &hash_alone).await;
        assert_eq!((new.status, new.code().as_str()), (400, known), "{}", new.text());
        let with = serving.post(&json!({ "query": text, "extensions": persisted })).await;
        assert_eq!(with.json()["data"]["status"]["network"], "test", "{}", with.text());
        let plain = serving.post(&json!({ "query": text })).await;
        assert_eq!(plain.json()["data"]["status"]["network"], "test", "{}", plain.text());
    }
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_others_read_only_what_they_may() {
    let indexed = small().await;
    let query = json!({ "query": "{ __typename }" });
    let allowed = |got: &Got| got.header("access-control-allow-origin").map(str::to_owned);
    let origin = "origin: https://app.example\r\n";
    let ask =
        "access-control-request-method: POST\r\naccess-control-request-headers: content-type\r\n";
    for (cors, expected) in [
        (Cors::SameOrigin, None),
        (Cors::Any, Some("*")),
        (Cors::from_origins(&["https://app.example".into()]), Some("https://app.example")),
        (Cors::from_origins(&["https://other.example".into()]), None),
    ] {
        let serving =
            Serving::begin(&indexed, Exposure { cors: cors.clone(), ..Exposure::default() });
        let got = serving.post_with(origin, &query).await;
        assert_eq!(allowed(&got).as_deref(), expected, "{cors:?}");
        assert!(got.header("access-control-allow-credentials").is_none());
        let before = serving.send("OPTIONS", "/graphql", &format!("{origin}{ask}"), b"").await;
        assert_eq!(before.status, 204);
        assert_eq!(allowed(&before).as_deref(), expected, "{cors:?}");
        assert_eq!(before.header("access-control-allow-methods").is_some(), expected.is_some());
        let refused = serving.send("POST", "/graphql", origin, b"").await;
        assert_eq!((refused.status, allowed(&refused).as_deref()), (415, expected), "{cors:?}");
        serving.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let indexed = small().await;
    let rate = Rate { per_minute: NonZeroU32::new(6).unwrap(), burst: NonZeroU32::new(3).unwrap() };
    let exposure = Exposure {
        rate: Some(rate),
        proxies: vec!["127.0.0.1".parse().unwrap()],
        ..Exposure::default()
    };
    let serving = Serving::begin(&indexed, exposure);
    let query = json!({ "query": "{ __typename }" });
    for _ in 0..3 {
        assert_eq!(serving.post(&query).await.status, 200);
    }
    let got = serving.post(&query).await;
    assert_eq!((got.status, got.code().as_str()), (429, "RATE_LIMITED"), "{}", got.text());
    let seconds: u64 = got.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=11).contains(&seconds), "{seconds}");
    assert_eq!(got.json()["errors"][0]["extensions"]["retryAfterMs"], seconds * 1_000);
    let other = serving.post_with("x-forwarded-for: 203.0.113.7\r\n", &query).await;
    assert_eq!(other.status, 200, "the proxy says that it is somebody else");
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_folded_for_who_can_unfold_them() {
    let indexed = small().await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let page = json!({ "query": "{ envelopes(first: 100) { nodes { digest topic { name } } } }" });
    let plain = serving.post(&page).await;
    assert!(plain.header("content-encoding").is_none());
    let gzip = serving.post_with("accept-encoding: gzip\r\n", &page).await;
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    assert!(gzip.bytes.len() < plain.bytes.len() / 2);
    let mut unfolded = Vec::new();
    flate2::read::GzDecoder::new(gzip.bytes.as_slice()).read_to_end(&mut unfolded).unwrap();
    assert_eq!(unfolded, plain.bytes);
    let brotli = serving.post_with("accept-encoding: gzip, br\r\n", &page).await;
    assert_eq!(brotli.header("content-encoding"), Some("br"));
    unfolded.clear();
    brotli::Decompressor::new(brotli.bytes.as_slice(), 4096).read_to_end(&mut unfolded).unwrap();
    assert_eq!(unfolded, plain.bytes);
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_for_trying_queries_needs_nobody_else() {
    let indexed = Indexed::with(capture().into_iter().take(400).collect()).await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let page = serving.send("GET", "/graphiql", "", b"").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self';"),
        "{policy}"
    );
    let text = page.text();
    assert!(!text.contains("://"), "it names another place: {text}");
    let mut parts = 0;
    for part in text.split('"').filter(|part| part.starts_with("/graphiql/")) {
        let got = serving.send("GET", part, "accept-encoding: gzip, br\r\n", b"").await;
        assert_eq!((got.status, got.header("content-encoding")), (200, Some("gzip")), "{part}");
        let mut folded = Vec::new();
        flate2::read::GzDecoder::new(got.bytes.as_slice()).read_to_end(&mut folded).unwrap();
        let plain = serving.send("GET", part, "", b"").await;
        assert!(plain.header("content-encoding").is_none() && plain.bytes == folded, "{part}");
        let tag = format!("if-none-match: {}\r\n", got.header("etag").unwrap());
        assert_eq!(serving.send("GET", part, &tag, b"").await.status, 304);
        parts += 1;
    }
    assert_eq!(parts, 2, "a script and a style");
    assert_eq!(serving.send("GET", "/graphiql/other", "", b"").await.status, 404);
    // What is typed in when it is opened.
    let query = include_str!("../../graphiql/default.graphql");
    let script = serving.send("GET", "/graphiql/page.js", "", b"").await.text();
    assert!(script.contains("query LatestInvites"), "run bin/vendor-graphiql");
    let got =
        serving.post(&json!({ "query": query, "operationName": "LatestInvites" })).await.json();
    assert!(got.get("errors").is_none(), "{got}");
    assert!(!got["data"]["invites"]["edges"].as_array().unwrap().is_empty(), "{got}");
    let live = json!({ "query": query, "operationName": "Live" });
    assert_eq!(serving.post(&live).await.code(), "SUBSCRIPTION_TRANSPORT");
    serving.end().await;
    let serving = Serving::begin(&indexed, Exposure { graphiql: false, ..Exposure::default() });
    assert_eq!(serving.send("GET", "/graphiql", "", b"").await.status, 404);
    serving.end().await;
}
