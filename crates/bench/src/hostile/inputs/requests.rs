//! Requests over HTTP: documents in bodies, bodies that are none, and addresses.

use std::io::Write as _;

use serde_json::{Value, json};

use super::{Due, documents};

/// A request without its `host`.
#[derive(Clone, Debug)]
pub struct Request {
    /// What it is called in reports.
    pub name: &'static str,
    /// POST, as a rule.
    pub method: &'static str,
    /// From `/` on.
    pub path: String,
    /// Each with its end of line.
    pub headers: String,
    /// Sent behind `content-length`, unless the headers say that it comes in chunks.
    pub body: Vec<u8>,
    /// Does the body stop in the middle?
    pub stalls: bool,
    /// What must come back.
    pub due: Due,
}

const JSON: &str = "content-type: application/json\r\n";
const RESPONSE: &str = "accept: application/graphql-response+json\r\n";
const WRONG: &[u16] = &[400];
/// Well formed: the error is in the answer.
const UNDERSTOOD: &[u16] = &[200];

fn post(name: &'static str, body: impl Into<Vec<u8>>, due: Due) -> Request {
    Request {
        name,
        method: "POST",
        path: "/graphql".into(),
        headers: format!("{JSON}{RESPONSE}"),
        body: body.into(),
        stalls: false,
        due,
    }
}

fn get(name: &'static str, parameters: &[(&str, &str)], due: Due) -> Request {
    let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
    let pairs: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    let path = format!("/graphql?{}", pairs.join("&"));
    Request { method: "GET", path, headers: RESPONSE.into(), ..post(name, "", due) }
}

fn refused(status: &'static [u16], code: &'static str) -> Due {
    Due::Refused(status, code)
}

/// All of them. Some are large: together tens of megabytes.
#[must_use]
pub fn requests() -> Vec<Request> {
    let mut all: Vec<Request> = documents()
        .into_iter()
        .map(|document| {
            let due = document.code.map_or(Due::Answer, |code| match code {
                // More than a body may have altogether.
                "DOCUMENT_TOO_LARGE" if document.text.len() > 60 << 10 => {
                    refused(&[413], "BODY_TOO_LARGE")
                }
                code => refused(WRONG, code),
            });
            post(document.name, json!({ "query": document.text }).to_string(), due)
        })
        .collect();
    all.extend(values());
    all.extend(bodies());
    all.extend(forms());
    all.extend(addresses());
    all
}

/// Bodies that are JSON, and say something that cannot be.
fn values() -> Vec<Request> {
    let invalid = || refused(WRONG, "GRAPHQL_VALIDATION_FAILED");
    let bad = || refused(WRONG, "BAD_REQUEST");
    let input = || refused(UNDERSTOOD, "BAD_USER_INPUT");
    let query = |text: &str| json!({ "query": text });
    let nested = |times: usize| (0..times).fold(json!(1), |inner, _| json!([inner]));
    let variables = |variables: Value| json!({ "query": "query($v: [Address!]!) { reachability(addresses: $v) { reachable } }", "variables": { "v": variables } });
    let many: String = (0..10).map(|n| format!("query Q{n} {{ __typename }} ")).collect();
    let batch = vec![query("{ __typename }"); 5_000];
    let wrong_hash = json!({ "persistedQuery": { "version": 1, "sha256Hash": "0".repeat(64) } });
    let list: Vec<(&'static str, Value, Due)> = vec![
        ("query: 123", json!({ "query": 123 }), bad()),
        ("query: null", json!({ "query": null }), bad()),
        ("query: []", json!({ "query": [] }), bad()),
        ("no query", json!({ "zzzz": 1 }), bad()),
        ("variables: []", json!({ "query": "{ __typename }", "variables": [] }), bad()),
        ("a batch", json!([query("{ __typename }")]), refused(WRONG, "BATCH_REFUSED")),
        ("a batch of 5000", json!(batch), refused(&[413], "BODY_TOO_LARGE")),
        ("variables 100 deep", variables(nested(100)), refused(WRONG, "INPUT_TOO_LARGE")),
        ("1001 values", variables(json!(vec!["0x00"; 1_001])), refused(WRONG, "INPUT_TOO_LARGE")),
        ("operationName missing", query(&many), invalid()),
        ("operationName unknown", json!({ "query": many, "operationName": "R" }), invalid()),
        (
            "another hash",
            json!({ "query": "{ __typename }", "extensions": wrong_hash }),
            refused(WRONG, "PERSISTED_QUERY_MISMATCH"),
        ),
        (
            "subscription over POST",
            query("subscription { status { head } }"),
            refused(WRONG, "SUBSCRIPTION_TRANSPORT"),
        ),
        ("first: -1", query("{ topics(first: -1) { nodes { id } } }"), input()),
        ("first: 501", query("{ topics(first: 501) { nodes { id } } }"), input()),
        (
            "first: 2^31",
            query("{ topics(first: 2147483648) { nodes { id } } }"),
            Due::Refused(&[200, 400], ""),
        ),
        (
            "first: 2^63",
            query("{ topics(first: 9223372036854775808) { nodes { id } } }"),
            Due::Refused(&[200, 400], ""),
        ),
        ("first: null", query("{ topics(first: null) { nodes { id } } }"), Due::Answer),
        (
            "a cursor of nobody",
            query("{ topics(after: \"AAAAAAAAAAAAAAAA\") { nodes { id } } }"),
            refused(UNDERSTOOD, "BAD_CURSOR"),
        ),
        (
            "a cursor of 50 kB",
            query(&format!("{{ topics(after: \"{}\") {{ nodes {{ id }} }} }}", "A".repeat(7_000))),
            refused(UNDERSTOOD, "BAD_CURSOR"),
        ),
        (
            "an address of 5 kB",
            query(&format!("{{ account(address: \"0x{}\") {{ id }} }}", "z".repeat(5_000))),
            Due::Refused(&[200, 400], ""),
        ),
    ];
    list.into_iter().map(|(name, body, due)| post(name, body.to_string(), due)).collect()
}

/// Bodies that are too large, no JSON, or no end of them comes.
fn bodies() -> Vec<Request> {
    let bad = || refused(WRONG, "BAD_REQUEST");
    let large = || refused(&[413], "BODY_TOO_LARGE");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    // Writing to memory does not fail.
    let bomb =
        gzip.write_all(&vec![b' '; 50 << 20]).and_then(|()| gzip.finish()).unwrap_or_default();
    let chunked = format!("{JSON}{RESPONSE}transfer-encoding: chunked\r\n");
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    let nested = |open: &str, close: &str| {
        format!(r#"{{"query":"{{a}}","variables":{}1{}}}"#, open.repeat(1_000), close.repeat(1_000))
    };
    let comment = format!("#{}\n{{ __typename }}", "x".repeat(50 << 20));
    vec![
        post("no body", "", bad()),
        post("no JSON", "{", bad()),
        post("not UTF-8", *b"{\"query\":\"\xff\"}", bad()),
        post("a lone surrogate in JSON", r#"{"query":"\ud800"}"#, bad()),
        post("1000 brackets", nested("[", "]"), bad()),
        post("1000 braces", nested(r#"{"a":"#, "}"), bad()),
        post("1e999", r#"{"query":"{ __typename }","variables":{"a":1e999}}"#, bad()),
        post("a comment of 50 MB", json!({ "query": comment }).to_string(), large()),
        post("a megabyte of nothing", vec![b' '; 1 << 20], large()),
        Request {
            headers: format!("{JSON}content-encoding: gzip\r\n"),
            ..post("a bomb in gzip", bomb, refused(&[415], ""))
        },
        Request {
            headers: chunked.clone(),
            ..post("chunks without end", chunk.repeat(200), large())
        },
        Request {
            headers: chunked,
            stalls: true,
            ..post("a chunk that stalls", *b"5\r\n{\"que", Due::Late(&[408], ""))
        },
        Request {
            headers: format!("{JSON}{RESPONSE}"),
            stalls: true,
            ..post("a body that stalls", *b"{\"query\":", Due::Late(&[408], ""))
        },
        post("duplicate keys", r#"{"query":"{ nothing }","query":"{ __typename }"}"#, Due::Answer),
        post(
            "a mark of order",
            json!({ "query": "\u{feff}{ __typename }" }).to_string(),
            Due::Answer,
        ),
        post(
            "other ends of lines",
            json!({ "query": "query\r\n{\r__typename\r\n}" }).to_string(),
            Due::Answer,
        ),
    ]
}

/// What is no request of GraphQL by its form.
fn forms() -> Vec<Request> {
    let query = json!({ "query": "{ __typename }" }).to_string();
    let typed = |name, headers: &str, status| Request {
        headers: headers.to_owned(),
        ..post(name, query.clone(), refused(status, ""))
    };
    let method = |name, method| Request { method, ..post(name, "", refused(&[405], "")) };
    let mut all = vec![
        typed("text/plain", "content-type: text/plain\r\n", &[415]),
        typed("a form", "content-type: application/x-www-form-urlencoded\r\n", &[415]),
        typed("multipart", "content-type: multipart/form-data; boundary=x\r\n", &[415]),
        typed("no type", "", &[415]),
        typed("another charset", "content-type: application/json; charset=utf-16\r\n", &[415]),
        typed("for people", &format!("{JSON}accept: text/html\r\n"), &[406]),
        method("PUT", "PUT"),
        method("DELETE", "DELETE"),
    ];
    if let Some(form) = all.iter_mut().find(|request| request.name == "a form") {
        form.body = b"query=%7B__typename%7D".to_vec();
    }
    all
}

/// What is asked by an address.
fn addresses() -> Vec<Request> {
    let query = ("query", "{ __typename }");
    let long = "x".repeat(20_000);
    vec![
        get("GET without a query", &[], refused(WRONG, "BAD_REQUEST")),
        get("GET mutation", &[("query", "mutation { a }")], refused(&[405], "")),
        get(
            "GET with bad variables",
            &[query, ("variables", "[1]")],
            refused(WRONG, "BAD_REQUEST"),
        ),
        get("GET deep", &[("query", &"{ a ".repeat(200))], refused(WRONG, "QUERY_TOO_DEEP")),
        get("GET long", &[query, ("variables", &long)], Due::Refused(&[400, 413, 414, 431], "")),
        get(
            "GET subscription",
            &[("query", "subscription { status { head } }")],
            refused(WRONG, "SUBSCRIPTION_TRANSPORT"),
        ),
    ]
}
