//! What is said on the wire, and what must not be.

use std::time::Duration;

use async_graphql::{Response, ServerError};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    media::{Media, is_json, negotiate},
    origin::Cors,
    params::Params,
    persisted::{Documents, Persisted, Trusted},
    reply::{self, Outcome},
    sse,
    ws::{Action, Protocol, SocketLimits, close},
};
use crate::guard::hash;

#[test]
fn the_form_that_is_liked_best() {
    let (json, response, events) = (Some(Media::Json), Some(Media::Response), Some(Media::Events));
    for (accept, media) in [
        (None, json),
        (Some(""), json),
        (Some("*/*"), json),
        (Some("application/*"), json),
        (Some("application/json"), json),
        (Some("application/json; charset=utf-8"), json),
        (Some("APPLICATION/JSON"), json),
        (Some("application/json; charset=latin1"), None),
        (Some("application/graphql-response+json"), response),
        (
            Some(
                "application/graphql-response+json; charset=utf-8, application/json; charset=utf-8",
            ),
            response,
        ),
        (Some("application/json, application/graphql-response+json"), json),
        (Some("application/graphql-response+json;q=0.5, application/json"), json),
        (Some("application/json;q=0.5, application/graphql-response+json;q=0.9"), response),
        (Some("application/json;q=0, */*"), response),
        (Some("text/event-stream"), events),
        (Some("text/event-stream, application/json;q=0.1"), events),
        (Some("text/*"), None),
        (Some("text/html"), None),
        (Some("text/html,application/xhtml+xml,*/*;q=0.8"), json),
        (Some("application/json;q=nonsense"), None),
        (Some("nonsense"), None),
    ] {
        assert_eq!(negotiate(accept), media, "{accept:?}");
    }
}

#[test]
fn only_json_is_read() {
    for good in [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON;charset=\"UTF-8\"",
    ] {
        assert!(is_json(Some(good)), "{good}");
    }
    for bad in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "application/jsonp",
        "",
        "text/plain; application/json",
    ] {
        assert!(!is_json(Some(bad)), "{bad}");
    }
    assert!(!is_json(None));
}

#[test]
fn origins() {
    let list = Cors::from_origins(&["https://App.example/".into()]);
    assert_eq!(list.allows("https://app.example"), Some("https://app.example"));
    assert_eq!(list.allows("https://evil.example"), None);
    assert_eq!(list.allows("null"), None);
    assert_eq!(Cors::from_origins(&["https://a.example".into(), "*".into()]), Cors::Any);
    assert_eq!(Cors::from_origins(&[]), Cors::SameOrigin);
    assert_eq!(Cors::Any.allows("https://x.example"), Some("*"));
    let own = Cors::SameOrigin;
    assert!(own.may_connect(None, Some("localhost:8080")));
    assert!(own.may_connect(Some("http://localhost:8080"), Some("localhost:8080")));
    assert!(!own.may_connect(Some("http://localhost:8081"), Some("localhost:8080")));
    assert!(!own.may_connect(Some("null"), Some("localhost:8080")));
    assert!(list.may_connect(Some("https://app.example"), Some("localhost:8080")));
}

#[test]
fn bodies() {
    let status = |body: &str| Params::from_body(body.as_bytes()).map_err(|refused| refused.code);
    assert!(
        status(
            r#"{"query":"{a}","variables":null,"operationName":null,"extensions":null,"more":1}"#
        )
        .is_ok()
    );
    assert_eq!(status(r#"{"query":"{a}","query":"{b}"}"#).unwrap().query.unwrap(), "{b}");
    assert_eq!(status("[]").unwrap_err(), "BATCH_REFUSED");
    for bad in [
        "",
        "null",
        "123",
        "\"{a}\"",
        "{",
        r#"{"query":123}"#,
        r#"{"query":[]}"#,
        r#"{"query":{}}"#,
        r#"{"query":"{a}","variables":"{}"}"#,
        r#"{"query":"{a}","variables":[]}"#,
        r#"{"query":"{a}","operationName":1}"#,
        r#"{"query":"{a}","extensions":1}"#,
        r#"{"query":"\ud800"}"#,
    ] {
        assert_eq!(status(bad).unwrap_err(), "BAD_REQUEST", "{bad}");
    }
    assert!(Params::from_body(b"{\"query\":\"\xff\"}").is_err());
    let nested =
        format!(r#"{{"query":"{{a}}","variables":{}1{}}}"#, "[".repeat(1_000), "]".repeat(1_000));
    assert_eq!(status(&nested).unwrap_err(), "BAD_REQUEST");
}

#[test]
fn documents_by_hash() {
    let text = "{ __typename }";
    let id = hex::encode(hash(text));
    let code = |documents: &Documents, query: Option<&str>, id: Option<&str>| {
        documents.find(query.map(str::to_owned), id).map_err(|refused| refused.code)
    };
    let apq = Documents::new(Persisted::Apq, Trusted::default());
    assert_eq!(code(&apq, None, Some(&id)), Err("PERSISTED_QUERY_NOT_FOUND"));
    assert_eq!(code(&apq, Some(text), Some(&"0".repeat(64))), Err("PERSISTED_QUERY_MISMATCH"));
    assert_eq!(code(&apq, Some(text), Some(&id)), Ok(text.into()));
    apq.keep(text, Some(&id));
    assert_eq!(code(&apq, None, Some(&id.to_uppercase())), Ok(text.into()));
    assert_eq!(code(&apq, None, None), Err("BAD_REQUEST"));
    let off = Documents::new(Persisted::Off, Trusted::default());
    off.keep(text, Some(&id));
    assert_eq!(code(&off, None, Some(&id)), Err("PERSISTED_QUERY_NOT_SUPPORTED"));
    assert_eq!(code(&off, Some(text), None), Ok(text.into()));
    for list in [
        json!({ "page": text }),
        json!({ "format": "a-manifest", "operations": [{ "id": "page", "name": "Q", "body": text }] }),
    ] {
        let only = Documents::new(Persisted::Only, Trusted::read(&list.to_string()).unwrap());
        assert_eq!(code(&only, None, Some("page")), Ok(text.into()));
        assert_eq!(code(&only, None, Some(&id)), Ok(text.into()));
        assert_eq!(code(&only, Some(text), None), Ok(text.into()));
        assert_eq!(code(&only, Some("{ a }"), None), Err("FORBIDDEN"));
        assert_eq!(code(&only, Some("{ a }"), Some("page")), Err("FORBIDDEN"));
        assert_eq!(code(&only, None, None), Err("FORBIDDEN"));
    }
    assert!(Trusted::read("[]").is_err() && Trusted::read(r#"{"a":1}"#).is_err());
}

#[test]
fn messages_repeat_little() {
    let said = |message: &str| {
        let mut response = Response::from_errors(vec![ServerError::new(message, None)]);
        reply::present(&mut response, Outcome::Invalid);
        response.errors.remove(0).message
    };
    let fine = "Unknown field \"statu\" on type \"Query\". Did you mean \"status\"?";
    assert_eq!(said(fine), fine);
    let long = said(&format!("Unknown field \"{}\" on type \"Query\".", "é".repeat(200)));
    assert_eq!(long, format!("Unknown field \"{}… on type \"Query\".", "é".repeat(35)));
    assert!(said(&"word ".repeat(200)).len() < 310);
}

#[test]
fn events_are_lines() {
    let event = String::from_utf8(sse::next(br#"{"data":1}"#, Some("abc"))).unwrap();
    assert_eq!(event, "event: next\nid: abc\ndata: {\"data\":1}\n\n");
}

fn open() -> Protocol {
    let mut protocol = Protocol::new(SocketLimits::default());
    assert_eq!(
        protocol.text(r#"{"type":"connection_init"}"#, Duration::ZERO),
        vec![Action::Init(serde_json::Map::new())]
    );
    assert_eq!(protocol.acknowledge(), vec![Action::Send(r#"{"type":"connection_ack"}"#.into())]);
    protocol
}

fn code(actions: &[Action]) -> Option<u16> {
    actions.iter().find_map(|action| match action {
        Action::Close { code, .. } => Some(*code),
        _ => None,
    })
}

const SUBSCRIBE: &str = r#"{"id":"1","type":"subscribe","payload":{"query":"{a}"}}"#;

#[test]
fn sockets_close_with_the_code_that_is_due() {
    let now = Duration::ZERO;
    let after = |protocol: &mut Protocol, texts: &[&str]| {
        texts.iter().flat_map(|text| protocol.text(text, now)).collect::<Vec<_>>()
    };
    let fresh = || Protocol::new(SocketLimits::default());
    assert_eq!(code(&after(&mut fresh(), &[SUBSCRIBE])), Some(close::UNAUTHORIZED));
    assert_eq!(
        code(&after(&mut fresh(), &[r#"{"type":"connection_init"}"#, SUBSCRIBE])),
        Some(close::UNAUTHORIZED)
    );
    assert_eq!(
        code(&after(&mut open(), &[r#"{"type":"connection_init"}"#])),
        Some(close::TOO_MANY)
    );
    assert_eq!(code(&after(&mut open(), &[SUBSCRIBE, SUBSCRIBE])), Some(close::DUPLICATE));
    assert_eq!(code(&open().binary()), Some(close::BAD));
    assert_eq!(code(&fresh().tick(Duration::from_secs(3))), Some(close::TIMEOUT));
    let long = format!(r#"{{"type":"{}"}}"#, "x".repeat(1_000));
    for bad in [
        "",
        "{",
        "[]",
        "1",
        "{}",
        r#"{"type":1}"#,
        r#"{"type":"start"}"#,
        r#"{"type":"complete"}"#,
        r#"{"type":"ping","payload":1}"#,
        r#"{"type":"subscribe","payload":{"query":"{a}"}}"#,
        r#"{"id":"","type":"subscribe","payload":{"query":"{a}"}}"#,
        r#"{"id":"1","type":"subscribe"}"#,
        r#"{"id":"1","type":"subscribe","payload":{"query":1}}"#,
        r#"{"id":"1","type":"subscribe","payload":{"query":"{a}","variables":[]}}"#,
        &long,
    ] {
        let actions = after(&mut open(), &[bad]);
        assert_eq!(code(&actions), Some(close::BAD), "{bad}: {actions:?}");
    }
}

#[test]
fn operations_begin_and_end_once() {
    let now = Duration::ZERO;
    let mut protocol = open();
    assert!(
        matches!(protocol.text(SUBSCRIBE, now).as_slice(), [Action::Start { id, .. }] if id == "1")
    );
    let next: Value =
        serde_json::from_str(&protocol.next("1", br#"{"data":{}}"#).unwrap()).unwrap();
    assert_eq!(next, json!({ "id": "1", "type": "next", "payload": { "data": {} } }));
    assert_eq!(protocol.next("2", b"{}"), None);
    assert!(protocol.is_running("1"));
    assert_eq!(
        protocol.text(r#"{"id":"1","type":"complete"}"#, now),
        vec![Action::Stop("1".into())]
    );
    assert_eq!(protocol.next("1", b"{}"), None, "nobody waits");
    assert_eq!(protocol.ended("1", None), None);
    assert_eq!(protocol.text(r#"{"id":"1","type":"complete"}"#, now), vec![]);
    protocol.text(SUBSCRIBE, now);
    let errors = json!([{ "message": "no" }]);
    let error: Value = serde_json::from_str(&protocol.ended("1", Some(&errors)).unwrap()).unwrap();
    assert_eq!(error, json!({ "id": "1", "type": "error", "payload": errors }));
    protocol.text(SUBSCRIBE, now);
    for n in 2..=20 {
        let text = format!(r#"{{"id":"{n}","type":"subscribe","payload":{{"query":"{{a}}"}}}}"#);
        assert!(matches!(protocol.text(&text, now).as_slice(), [Action::Start { .. }]), "{n}");
    }
    let one_more = protocol.text(r#"{"id":"x","type":"subscribe","payload":{"query":"{a}"}}"#, now);
    let [Action::Send(text)] = one_more.as_slice() else { panic!("{one_more:?}") };
    assert!(text.contains(r#""type":"error""#) && text.contains(r#""limit":20"#), "{text}");
    assert!(protocol.next("1", b"{}").is_some(), "the others go on");
}

#[test]
fn silent_sockets_are_asked_and_then_closed() {
    let mut protocol = open();
    let second = Duration::from_secs(1);
    assert_eq!(protocol.wakes(), 15 * second);
    assert_eq!(protocol.tick(14 * second), vec![]);
    assert_eq!(protocol.tick(15 * second), vec![Action::Ping]);
    assert_eq!(protocol.tick(16 * second), vec![]);
    protocol.heard(16 * second);
    assert_eq!(protocol.tick(31 * second), vec![Action::Ping]);
    assert_eq!(protocol.tick(46 * second), vec![Action::Ping]);
    assert_eq!(code(&protocol.tick(61 * second)), Some(close::TIMEOUT));
    assert_eq!(protocol.tick(62 * second), vec![], "closed once");
    let mut old = open();
    old.heard(3_600 * second);
    assert_eq!(code(&old.tick(3_600 * second)), Some(close::RESTART));
    assert_eq!(
        open().text(r#"{"type":"ping","payload":{"a":1}}"#, Duration::ZERO),
        vec![Action::Send(r#"{"payload":{"a":1},"type":"pong"}"#.into())]
    );
}

/// Frames, sensible and not.
fn frame() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(r#"{"type":"connection_init"}"#.to_owned()),
        Just(r#"{"type":"ping"}"#.to_owned()),
        "[0-9a-é]{0,60}"
            .prop_map(|id| json!({ "id": id, "type": "subscribe", "payload": { "query": "{a}" } })
                .to_string()),
        "[0-3]"
            .prop_map(|id| json!({ "id": id, "type": "subscribe", "payload": { "query": "{a}" } })
                .to_string()),
        "[0-3]".prop_map(|id| json!({ "id": id, "type": "complete" }).to_string()),
        ".{0,140}".prop_map(|kind| json!({ "type": kind }).to_string()),
        ".{0,60}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_comes_only_legal_things_go(frames in prop::collection::vec(frame(), 0..40)) {
        let mut protocol = Protocol::new(SocketLimits::default());
        let mut closed = false;
        for (nth, frame) in frames.iter().enumerate() {
            let now = Duration::from_millis(u64::try_from(nth).unwrap() * 50);
            let mut actions = protocol.text(frame, now);
            if matches!(actions.as_slice(), [Action::Init(_)]) {
                actions.extend(protocol.acknowledge());
            }
            actions.extend(protocol.tick(now));
            for action in actions {
                prop_assert!(!closed || matches!(action, Action::Stop(_)), "{:?} after the end", action);
                if let Action::Close { code, reason } = action {
                    prop_assert!([4400, 4401, 4408, 4409, 4429].contains(&code), "{}", code);
                    prop_assert!(reason.len() <= 123, "{}", reason);
                    closed = true;
                }
            }
        }
    }
}
