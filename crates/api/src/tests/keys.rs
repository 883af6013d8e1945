//! Callers with keys, callers without, and what becomes of what is open when a key is taken back: over real sockets.

use std::{num::NonZeroU32, time::Duration};

use serde_json::{Value, json};
use store::keys::{NewKey, Scope};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::Instant,
};

use super::{
    fixture::{Indexed, capture},
    server::Serving,
    socket::{Heard, Socket, acknowledged},
};
use crate::{Exposure, Keys, Listings, Rate};

/// The longest that a key may be good after it was taken back.
const AFTER_REVOCATION: Duration = Duration::from_secs(30);

const STATUS: &str = "{ status { network } }";

async fn small() -> Indexed {
    Indexed::with(capture().into_iter().take(120).collect()).await
}

async fn key(indexed: &Indexed, name: &str, scopes: &[Scope], per_minute: Option<u32>) -> String {
    let per_minute = per_minute.and_then(NonZeroU32::new);
    let new = NewKey { name: name.into(), scopes: scopes.to_vec(), per_minute, expires_at: None };
    indexed.store.create_key(&new).await.unwrap().1
}

fn bearer(key: &str) -> String {
    format!("authorization: Bearer {key}\r\n")
}

fn query(text: &str) -> Value {
    json!({ "query": text })
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_open_what_their_scopes_say() {
    let indexed = small().await;
    let read = key(&indexed, "reader", &[Scope::Read], None).await;
    let push = key(&indexed, "pusher", &[Scope::Push], None).await;
    let admin = key(&indexed, "operator", &[Scope::Admin], None).await;
    let other =
        format!("{}{}", &read[..read.len() - 1], if read.ends_with('a') { 'b' } else { 'a' });
    let unknown = format!("xidx_{}_{}", "0".repeat(8), "0".repeat(32));
    for (keys, headers, status, code) in [
        (Keys::Optional, String::new(), 200, ""),
        (Keys::Optional, bearer(&read), 200, ""),
        (Keys::Optional, bearer(&admin), 200, ""),
        (Keys::Optional, bearer(&push), 403, "FORBIDDEN"),
        (Keys::Optional, bearer(&other), 401, "UNAUTHENTICATED"),
        (Keys::Optional, bearer(&unknown), 401, "UNAUTHENTICATED"),
        (Keys::Optional, bearer("nonsense"), 401, "UNAUTHENTICATED"),
        (Keys::Optional, "authorization: Basic dXNlcjpwYXNz\r\n".into(), 200, ""),
        (Keys::Required, String::new(), 401, "UNAUTHENTICATED"),
        (Keys::Required, "authorization: Basic dXNlcjpwYXNz\r\n".into(), 401, "UNAUTHENTICATED"),
        (Keys::Required, bearer(&read), 200, ""),
        (Keys::Required, bearer(&push), 403, "FORBIDDEN"),
        (Keys::Off, bearer(&unknown), 200, ""),
    ] {
        let serving = Serving::begin(&indexed, Exposure { keys, ..Exposure::default() });
        let name = format!("{keys:?} {headers}");
        let got = serving.post_with(&headers, &query(STATUS)).await;
        assert_eq!(got.status, status, "{name}: {}", got.text());
        if status == 200 {
            assert_eq!(got.json()["data"]["status"]["network"], "test", "{name}");
        } else {
            assert_eq!(got.code(), code, "{name}");
            assert_eq!(got.header("www-authenticate").is_some(), status == 401, "{name}");
            assert!(!got.text().contains(&read[5..13]), "a key is repeated: {}", got.text());
        }
        // Never in the address.
        let path = format!("/graphql?query=%7B__typename%7D&apiKey={read}");
        let got = serving.send("GET", &path, "", b"").await;
        assert_eq!(got.status, if keys == Keys::Required { 401 } else { 200 }, "{name}");
        for (path, headers, open) in [
            ("/healthz", String::new(), true),
            ("/readyz", String::new(), true),
            ("/graphiql", String::new(), true),
            ("/metrics", String::new(), keys != Keys::Required),
            ("/metrics", bearer(&read), keys != Keys::Required),
            ("/metrics", bearer(&admin), true),
        ] {
            let got = serving.send("GET", path, &headers, b"").await;
            assert_eq!(!matches!(got.status, 401 | 403), open, "{keys:?} {path}: {}", got.status);
        }
        serving.end().await;
    }
    let keys = indexed.store.keys(false).await.unwrap();
    let used = |name: &str| keys.iter().find(|key| key.name == name).unwrap().last_used_at;
    assert!(used("reader").is_some(), "it is written down when the server stops, at the latest");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_key_has_a_rate_of_its_own_and_so_has_an_address_without() {
    let indexed = small().await;
    let slow = key(&indexed, "slow", &[Scope::Read], Some(3)).await;
    let fast = key(&indexed, "fast", &[Scope::Read], None).await;
    let two = NonZeroU32::new(2).unwrap();
    let rate = Some(Rate { per_minute: two, burst: two });
    let serving = Serving::begin(&indexed, Exposure { rate, ..Exposure::default() });
    for _ in 0..3 {
        assert_eq!(serving.post_with(&bearer(&slow), &query(STATUS)).await.status, 200);
    }
    let got = serving.post_with(&bearer(&slow), &query(STATUS)).await;
    assert_eq!((got.status, got.code().as_str()), (429, "RATE_LIMITED"), "{}", got.text());
    let seconds: u64 = got.header("retry-after").unwrap().parse().unwrap();
    assert!((10..=21).contains(&seconds), "{seconds}");
    assert_eq!(got.json()["errors"][0]["extensions"]["retryAfterMs"], seconds * 1_000);
    // Frames of a socket count like requests, and the handshake does.
    let mut socket = Socket::open(&serving, "").await.unwrap_or_else(|status| panic!("{status}"));
    assert_eq!(socket.init(json!({ "apiKey": slow })).await, acknowledged());
    assert_eq!(socket.code("1", STATUS).await, "RATE_LIMITED");
    for _ in 0..5 {
        assert_eq!(serving.post_with(&bearer(&fast), &query(STATUS)).await.status, 200);
    }
    // The address had one left; the socket's handshake took the other. Wrong keys take them, too.
    let wrong = bearer(&format!("xidx_{}_{}", "0".repeat(8), "0".repeat(32)));
    assert_eq!(serving.post_with(&wrong, &query(STATUS)).await.status, 401);
    assert_eq!(serving.post_with(&wrong, &query(STATUS)).await.status, 429);
    assert_eq!(serving.post(&query(STATUS)).await.status, 429);
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_take_keys_when_they_begin() {
    let indexed = small().await;
    let read = key(&indexed, "reader", &[Scope::Read], None).await;
    let push = key(&indexed, "pusher", &[Scope::Push], None).await;
    let serving =
        Serving::begin(&indexed, Exposure { keys: Keys::Required, ..Exposure::default() });
    for payload in [json!({ "apiKey": read }), json!({ "authorization": format!("Bearer {read}") })]
    {
        let mut socket = Socket::open(&serving, "").await.unwrap_or_else(|s| panic!("{s}"));
        assert_eq!(socket.init(payload).await, acknowledged());
        assert_eq!(socket.code("1", STATUS).await, "none");
    }
    for payload in [json!({}), json!({ "apiKey": push }), json!({ "apiKey": "x" })] {
        let mut socket = Socket::open(&serving, "").await.unwrap_or_else(|s| panic!("{s}"));
        let heard = socket.init(payload.clone()).await;
        assert!(matches!(&heard, Heard::Close(4403, reason) if !reason.is_empty()), "{heard:?}");
    }
    // Who can set headers may show the key at the door.
    let mut socket = Socket::open(&serving, &bearer(&read)).await.unwrap_or_else(|s| panic!("{s}"));
    assert_eq!(socket.init(json!({})).await, acknowledged());
    assert_eq!(Socket::open(&serving, &bearer("x")).await.err(), Some(401));
    assert_eq!(Socket::open(&serving, &bearer(&push)).await.err(), Some(403));
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_taken_back_closes_what_it_opened() {
    let indexed = small().await;
    let gone = key(&indexed, "gone", &[Scope::Read], None).await;
    let stays = key(&indexed, "stays", &[Scope::Read], None).await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let follow = "subscription { envelopes { cursor node { digest } } }";
    let cursor = {
        let page = query("{ envelopes(last: 2) { edges { cursor } } }");
        let got = serving.post_with(&bearer(&gone), &page).await.json();
        got["data"]["envelopes"]["edges"][0]["cursor"].as_str().unwrap().to_owned()
    };
    let mut other = Socket::open(&serving, "").await.unwrap_or_else(|s| panic!("{s}"));
    assert_eq!(other.init(json!({ "apiKey": stays })).await, acknowledged());
    let mut socket = Socket::open(&serving, "").await.unwrap_or_else(|s| panic!("{s}"));
    assert_eq!(socket.init(json!({ "apiKey": gone })).await, acknowledged());
    let resume = follow.replace("envelopes {", &format!("envelopes(after: \"{cursor}\") {{"));
    socket.subscribe("live", &resume).await;
    let Heard::Text(told) = socket.hear().await else { panic!("closed") };
    let last = told["payload"]["data"]["envelopes"]["cursor"].clone();
    assert!(last.is_string(), "{told}");
    let body = query(&resume).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\naccept: text/event-stream\r\n\
         connection: close\r\n{}content-length: {}\r\n\r\n{body}",
        bearer(&gone),
        body.len()
    );
    let mut events = TcpStream::connect(serving.addr).await.unwrap();
    events.write_all(head.as_bytes()).await.unwrap();

    let began = Instant::now();
    indexed.store.revoke_key("gone").await.unwrap().unwrap();
    // The operation is told, with its cursor; then the socket closes.
    let Heard::Text(error) = socket.hear().await else { panic!("closed without a word") };
    assert_eq!((&error["type"], &error["id"]), (&json!("error"), &json!("live")), "{error}");
    let extensions = &error["payload"][0]["extensions"];
    assert_eq!(extensions, &json!({ "code": "UNAUTHENTICATED", "cursor": last }));
    let heard = socket.hear().await;
    assert!(
        matches!(&heard, Heard::Close(4403, reason) if reason.contains("revoked")),
        "{heard:?}"
    );
    let mut text = String::new();
    let read = tokio::time::timeout(AFTER_REVOCATION, events.read_to_string(&mut text)).await;
    read.unwrap().unwrap();
    assert!(began.elapsed() < AFTER_REVOCATION, "{:?}", began.elapsed());
    assert!(text.contains("event: complete") && text.contains("UNAUTHENTICATED"), "{text}");
    assert!(text.contains(&format!("\"cursor\":{last}")), "{text}");
    let got = serving.post_with(&bearer(&gone), &query(STATUS)).await;
    assert_eq!(got.status, 401, "{}", got.text());
    // Nobody else notices.
    assert_eq!(other.code("1", STATUS).await, "none");
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_database_is_away_known_keys_stay_good_and_no_other_becomes_so() {
    let indexed = small().await;
    let known = key(&indexed, "known", &[Scope::Read], None).await;
    let serving =
        Serving::begin(&indexed, Exposure { keys: Keys::Required, ..Exposure::default() });
    let asked = query("{ __typename }");
    assert_eq!(serving.post_with(&bearer(&known), &asked).await.status, 200);
    let later = key(&indexed, "later", &[Scope::Read], None).await;
    // Away, for those who ask about keys.
    indexed.execute("alter view access.live_keys rename to away").await;
    assert_eq!(serving.post_with(&bearer(&known), &asked).await.status, 200);
    let got = serving.post_with(&bearer(&later), &asked).await;
    assert_eq!((got.status, got.code().as_str()), (503, "UNAVAILABLE"), "{}", got.text());
    assert!(got.header("retry-after").is_some());
    let mut socket = Socket::open(&serving, "").await.unwrap_or_else(|s| panic!("{s}"));
    assert!(matches!(socket.init(json!({ "apiKey": later })).await, Heard::Close(1013, _)));
    indexed.execute("alter view access.away rename to live_keys").await;
    // Made since the keys were last read, and good at once.
    assert_eq!(serving.post_with(&bearer(&later), &asked).await.status, 200);
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_kept_back_from_those_who_may_not_have_them() {
    let indexed = small().await;
    let read = bearer(&key(&indexed, "reader", &[Scope::Read], None).await);
    let wallet = {
        let first = indexed.ask("{ accounts(first: 1) { nodes { address } } }", json!({})).await;
        first["accounts"]["nodes"][0]["address"].as_str().unwrap().to_owned()
    };
    let list = query("query Everybody { a: accounts { nodes { address } } }");
    let exact = json!({
        "query": "query($who: [Address!]) { accounts(filter: { addresses: $who }) { nodes { address } } }",
        "variables": { "who": [wallet] },
    });
    let live = "subscription { invites { cursor } }";
    for (listings, keyed, without) in [
        (Listings::Open, true, true),
        (Listings::Keyed, true, false),
        (Listings::Closed, false, false),
    ] {
        let serving = Serving::begin(&indexed, Exposure { listings, ..Exposure::default() });
        for (headers, open) in [(read.as_str(), keyed), ("", without)] {
            let name = format!("{listings:?} {}", !headers.is_empty());
            let got = serving.post_with(headers, &list).await;
            if open {
                assert!(got.json()["data"]["a"]["nodes"].is_array(), "{name}: {}", got.text());
            } else {
                assert_eq!((got.status, got.code().as_str()), (403, "FORBIDDEN"), "{name}");
                let said = got.json()["errors"][0]["message"].as_str().unwrap().to_owned();
                assert!(said.contains("accounts") && said.contains("filter.addresses"), "{said}");
            }
            let got = serving.post_with(headers, &exact).await;
            assert_eq!(got.json()["data"]["accounts"]["nodes"][0]["address"], json!(wallet));
            // As an event stream, and on a socket.
            let events = format!("accept: text/event-stream\r\n{headers}");
            if !open {
                let got = serving.post_with(&events, &query(live)).await;
                assert!(got.text().contains("\"FORBIDDEN\""), "{name}: {}", got.text());
                let mut socket =
                    Socket::open(&serving, headers).await.unwrap_or_else(|s| panic!("{s}"));
                assert_eq!(socket.init(json!({})).await, acknowledged());
                assert_eq!(socket.code("1", live).await, "FORBIDDEN", "{name}");
                assert_eq!(socket.code("2", STATUS).await, "none", "{name}");
            }
        }
        serving.end().await;
    }
}
