//! How sockets end when a client has done nothing that the protocol forbids: each end has its code and says what to do.
//! The codes for what is forbidden are in the checks with the clients that people use.

use std::time::Duration;

use serde_json::json;

use super::{
    fixture::Indexed,
    server::Serving,
    slow::Slow,
    socket::{Heard, Socket, acknowledged},
};
use crate::Exposure;

const LIVE: &str = "subscription { envelopes { cursor } }";

async fn opened(serving: &Serving) -> Socket {
    let mut socket = Socket::open(serving, "").await.unwrap_or_else(|status| panic!("{status}"));
    assert_eq!(socket.init(json!({})).await, acknowledged());
    socket
}

/// Hears that it is over.
async fn closes(mut socket: Socket, code: u16, why: &str) {
    let heard = socket.hear().await;
    assert!(matches!(&heard, Heard::Close(c, r) if *c == code && r.contains(why)), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_let_go() {
    let indexed = Indexed::with(Vec::new()).await;
    let mut exposure = Exposure::default();
    exposure.sockets.init = Duration::from_millis(200);
    exposure.sockets.ping = Duration::from_millis(300);
    exposure.sockets.silence = Duration::from_millis(900);
    let serving = Serving::begin(&indexed, exposure);
    let began = std::time::Instant::now();
    let fresh = Socket::open(&serving, "").await.unwrap_or_else(|status| panic!("{status}"));
    closes(fresh, 4408, "initialisation timeout").await;
    assert!(began.elapsed() >= Duration::from_millis(200));
    // This one answers no pings, whatever it waits for.
    let (mut waiting, began) = (opened(&serving).await, std::time::Instant::now());
    waiting.subscribe("1", LIVE).await;
    closes(waiting, 4408, "no sign of life").await;
    assert!(began.elapsed() >= Duration::from_millis(900));
    // Words of the protocol are signs of life as well.
    let (mut alive, began) = (opened(&serving).await, std::time::Instant::now());
    while began.elapsed() < Duration::from_millis(2_000) {
        alive.send(&json!({ "type": "ping" })).await;
        assert_eq!(alive.hear().await, Heard::Text(json!({ "type": "pong" })));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_sockets_and_servers_that_stop_send_their_clients_for_another() {
    let indexed = Indexed::with(Vec::new()).await;
    let mut exposure = Exposure::default();
    exposure.sockets.age = Duration::from_millis(600);
    let serving = Serving::begin(&indexed, exposure);
    let mut socket = opened(&serving).await;
    socket.subscribe("1", LIVE).await;
    closes(socket, 1012, "old: connect again and resume").await;
    serving.end().await;

    let serving = Serving::begin(&indexed, Exposure::default());
    let (mut busy, idle) = (opened(&serving).await, opened(&serving).await);
    busy.subscribe("1", LIVE).await;
    let fresh = Socket::open(&serving, "").await.unwrap_or_else(|status| panic!("{status}"));
    serving.end().await;
    for socket in [busy, idle, fresh] {
        closes(socket, 1012, "the server stops: connect again and resume").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_that_takes_nothing_is_told_to_come_later_and_resumes() {
    // Until this one looks again.
    let slow = Slow::begin(|e| e.sockets.farewell = Duration::from_secs(120)).await;
    let query =
        format!("subscription {{ envelopes(after: {}) {} }}", slow.after, Slow::selection());
    let stream = slow.connect().await;
    let mut socket =
        Socket::over(stream, &slow.serving, "").await.unwrap_or_else(|status| panic!("{status}"));
    assert_eq!(socket.init(json!({})).await, acknowledged());
    socket.subscribe("1", &query).await;
    slow.publish(&query, &json!({})).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // It looks again.
    let mut told = Vec::new();
    let (code, reason) = loop {
        match socket.hear().await {
            Heard::Text(message) if message["type"] == "next" => {
                told.push(message["payload"]["data"]["envelopes"].clone());
            }
            Heard::Text(message) => {
                assert_eq!(message["payload"][0]["extensions"]["code"], "SLOW_READER", "{message}");
            }
            Heard::Close(code, reason) => break (code, reason),
        }
    };
    assert_eq!((code, reason.as_str()), (1013, "too slow: connect again and resume"));
    slow.resumes(&told).await;
}
