//! Whoever asks for too much is told how much would do: every refusal by a limit has `limit` and `actual`.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    fixture::{Indexed, capture},
    server::Serving,
    socket::{Heard, Socket, acknowledged},
};
use crate::{Exposure, Limits};

const MB: usize = 1 << 20;

/// What is refused, when the server is set so, with which code, and the two numbers.
struct Case {
    set: fn(&mut Exposure),
    body: Value,
    code: &'static str,
    limit: usize,
    actual: usize,
}

fn case(
    set: fn(&mut Exposure),
    body: Value,
    code: &'static str,
    limit: usize,
    actual: usize,
) -> Case {
    Case { set, body, code, limit, actual }
}

fn query(text: &str) -> Value {
    json!({ "query": text })
}

/// What is counted before anything is executed.
fn counted() -> Vec<Case> {
    let deep = || query("{ topics { nodes { id } } }");
    let introspection = query("{ __schema { types { fields { name } } } }");
    let given = |value: Value| json!({ "query": "{ __typename }", "variables": { "v": value } });
    let two = json!({
        "query": "query A { __typename } query B { __typename }", "operationName": "A",
    });
    let body = query("{ __typename }").to_string().len();
    vec![
        case(|e| e.limits.body_bytes = 20, query("{ __typename }"), "BODY_TOO_LARGE", 20, body),
        case(|e| e.limits.document_bytes = 9, query("{ status }"), "DOCUMENT_TOO_LARGE", 9, 10),
        case(|e| e.limits.tokens = 2, query("{ status }"), "TOO_MANY_TOKENS", 2, 3),
        case(|e| e.limits.nesting = 2, deep(), "QUERY_TOO_DEEP", 2, 3),
        case(|e| e.limits.operations = 1, two, "TOO_MANY_OPERATIONS", 1, 2),
        case(|e| e.limits.depth = 2, deep(), "QUERY_TOO_DEEP", 2, 3),
        case(|e| e.limits.introspection_depth = 3, introspection, "QUERY_TOO_DEEP", 3, 4),
        case(|e| e.limits.nodes = 2, deep(), "QUERY_TOO_COMPLEX", 2, 3),
        case(
            |e| e.limits.aliases = 1,
            query("{ a: __typename b: __typename }"),
            "TOO_MANY_ALIASES",
            1,
            2,
        ),
        case(
            |e| e.limits.directives = 1,
            query("{ __typename @skip(if: false) @include(if: true) }"),
            "TOO_MANY_DIRECTIVES",
            1,
            2,
        ),
        case(
            |e| e.limits.root_fields = 1,
            query("{ __typename status { network } }"),
            "TOO_MANY_ROOT_FIELDS",
            1,
            2,
        ),
        case(
            |e| e.limits.complexity = 1,
            query("{ status { network } }"),
            "QUERY_TOO_COMPLEX",
            1,
            2,
        ),
        case(|e| e.limits.list_items = 2, given(json!([1, 2, 3])), "INPUT_TOO_LARGE", 2, 3),
        case(|e| e.limits.input_values = 3, given(json!([1, 2, 3])), "INPUT_TOO_LARGE", 3, 4),
        case(|e| e.limits.input_depth = 2, given(json!([[1]])), "INPUT_TOO_LARGE", 2, 3),
    ]
}

/// What is found while an answer is being made.
fn worked_out() -> Vec<Case> {
    let page = query("{ envelopes(first: 100) { nodes { digest topic { name } } } }");
    let ids = json!({
        "query": "query($ids: [ID!]!) { nodes(ids: $ids) { id } }",
        "variables": { "ids": vec!["x"; 501] },
    });
    let wallets = json!({
        "query": "query($of: [Address!]!) { reachability(addresses: $of) { reachable } }",
        "variables": { "of": vec![format!("0x{}", "1".repeat(40)); 501] },
    });
    let volume = "{ analytics { volume(from: \"2022-01-01T00:00:00Z\", to: \"2022-01-05T00:00:00Z\", interval: MINUTE) { key } } }";
    // Nine statements each.
    let lists: String = (0..15)
        .map(|n| format!("t{n}: topics(first: 1) {{ nodes {{ envelopes(first: 1) {{ nodes {{ message undecodable payload {{ __typename }} topic {{ id }} }} }} }} }} "))
        .collect();
    // One envelope of 3 MiB, as often as this.
    let many: String = (0..12).map(|n| format!("m{n}: message ")).collect();
    let messages = format!("{{ envelopes(last: 1) {{ nodes {{ {many} }} }} }}");
    let wide: fn(&mut Exposure) = |e| e.limits.complexity = 1_000_000;
    vec![
        case(|e| e.limits.answer_bytes = 5_000, page, "ANSWER_TOO_LARGE", 5_000, 5_001),
        case(wide, query(&messages), "ANSWER_TOO_LARGE", 32 * MB, 33 * MB),
        case(wide, query(&format!("{{ {lists} }}")), "QUERY_TOO_COSTLY", 100, 15 * 9),
        case(wide, query("{ topics(first: 501) { nodes { id } } }"), "BAD_USER_INPUT", 500, 501),
        case(wide, query("{ topics(last: 502) { nodes { id } } }"), "BAD_USER_INPUT", 500, 502),
        case(wide, ids, "BAD_USER_INPUT", 500, 501),
        case(wide, wallets, "BAD_USER_INPUT", 500, 501),
        case(wide, query(volume), "BAD_USER_INPUT", 5_000, 4 * 24 * 60),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_too_much_is_told_how_much_would_do() {
    let indexed = Indexed::with(capture().into_iter().take(120).collect()).await;
    // Of a topic whose bytes are served.
    let contact = |envelope: &wire::Envelope| envelope.topic.starts_with(b"/xmtp/0/contact-");
    let mut large = capture().into_iter().find(contact).unwrap();
    large.message = Bytes::from(vec![7; 3 * MB]);
    indexed.add(vec![large]).await;
    for Case { set, body, code, limit, actual } in counted().into_iter().chain(worked_out()) {
        let mut exposure = Exposure::default();
        set(&mut exposure);
        let serving = Serving::begin(&indexed, exposure);
        let got = serving.post(&body).await;
        let expected = json!({ "code": code, "limit": limit, "actual": actual });
        assert_eq!(got.json()["errors"][0]["extensions"], expected, "{body}: {}", got.text());
        serving.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_a_request_comes_has_limits_as_well() {
    let indexed = Indexed::with(Vec::new()).await;
    let limits = Limits { body_bytes: 200, ..Limits::default() };
    let mut exposure = Exposure { limits, ..Exposure::default() };
    exposure.sockets.connections = 1;
    exposure.sockets.operations = 2;
    let serving = Serving::begin(&indexed, exposure);
    let told = |code: &str, limit: usize, actual: usize| json!({ "code": code, "limit": limit, "actual": actual });

    let path = format!("/graphql?query={}", "x".repeat(195));
    let got = serving.send("GET", &path, "", b"").await;
    assert_eq!(got.status, 414);
    assert_eq!(got.json()["errors"][0]["extensions"], told("URI_TOO_LONG", 200, 201));

    // Of what comes in chunks nobody knows how much it will be.
    let head = "POST /graphql HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
                content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("12c\r\n{}\r\n0\r\n\r\n", "x".repeat(300));
    let got = serving.raw(head, chunk.as_bytes()).await;
    assert_eq!(got.status, 413, "{}", got.text());
    assert_eq!(got.json()["errors"][0]["extensions"], told("BODY_TOO_LARGE", 200, 300));

    let live = "subscription { status { head } }";
    let mut socket = Socket::open(&serving, "").await.unwrap_or_else(|s| panic!("{s}"));
    assert_eq!(socket.init(json!({})).await, acknowledged());
    for id in ["1", "2", "3"] {
        socket.subscribe(id, live).await;
    }
    let refused = loop {
        match socket.hear().await {
            Heard::Text(message) if message["type"] == "error" => break message,
            Heard::Text(_) => {}
            closed => panic!("{closed:?}"),
        }
    };
    assert_eq!(refused["id"], "3");
    assert_eq!(refused["payload"][0]["extensions"], told("TOO_MANY_OPERATIONS", 2, 3));

    // The room that there is, is taken: by another socket, and by a stream of events.
    assert_eq!(Socket::open(&serving, "").await.err(), Some(503));
    let headers = "accept: text/event-stream\r\n";
    let got = serving.post_with(headers, &query(live)).await;
    assert_eq!((got.status, got.header("retry-after")), (503, Some("10")), "{}", got.text());
    assert_eq!(got.json()["errors"][0]["extensions"], told("TOO_MANY_CONNECTIONS", 1, 2));
    // Who leaves makes room.
    drop(socket);
    let began = std::time::Instant::now();
    while let Err(status) = Socket::open(&serving, "").await {
        assert!(status == 503 && began.elapsed().as_secs() < 20, "{status}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    serving.end().await;
}
