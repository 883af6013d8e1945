//! The server, over a socket.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::fixture::{Indexed, capture, queue};
use crate::{Options, Server};

struct Running {
    addr: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
    indexed: Indexed,
    /// What is wrong with the queue.
    fault: Arc<Mutex<Option<String>>>,
}

struct Response {
    status: u16,
    head: String,
    body: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

async fn serve(max_lag: u64) -> Running {
    let indexed = Indexed::with(capture().into_iter().take(60).collect()).await;
    let fault: Arc<Mutex<Option<String>>> = Arc::default();
    let said = fault.clone();
    let server = Server::bind(Options {
        listen: ([127, 0, 0, 1], 0).into(),
        store: indexed.connect(),
        network: "test".into(),
        queue: queue(),
        metrics: None,
        health: None,
        queue_fault: Arc::new(move || said.lock().unwrap().clone()),
        max_lag,
        workers: 1,
    })
    .unwrap();
    let (addr, stop) = (server.addr(), CancellationToken::new());
    let task = tokio::spawn(server.run(stop.clone()));
    Running { addr, stop, task, indexed, fault }
}

impl Running {
    async fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> Response {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
        );
        // A refused body may be cut off in the middle.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Response { status, head: head.to_lowercase(), body: body.to_owned() }
    }

    async fn post(&self, body: &Value) -> Response {
        self.send("POST", "/graphql", "content-type: application/json\r\n", &body.to_string()).await
    }

    async fn end(self) -> Indexed {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.indexed
    }
}

#[tokio::test]
async fn questions_are_answered_by_post_and_get() {
    let running = serve(0).await;
    let query = "query Count($k: [TopicKind!]) { topics(filter: { kinds: $k }) { totalCount } }";
    let variables = json!({ "k": ["CONTACT"] });
    let answer = running
        .post(&json!({ "query": query, "variables": variables, "operationName": "Count" }))
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: application/json"), "{}", answer.head);
    let json = answer.json();
    assert!(json["data"]["topics"]["totalCount"].as_str().unwrap().parse::<u32>().unwrap() > 5);
    assert!(json["extensions"]["head"].is_string());
    assert_eq!(json["extensions"]["lag"], 0);
    let path = "/graphql?query=query(%24k%3A%5BTopicKind!%5D)%7Btopics(filter%3A%7Bkinds%3A%24k%7D)%7BtotalCount%7D%7D\
                &variables=%7B%22k%22%3A%5B%22CONTACT%22%5D%7D";
    let got = running.send("GET", path, "", "").await;
    assert_eq!((got.status, got.json()["data"].clone()), (200, json["data"].clone()));
    running.end().await;
}

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let running = serve(0).await;
    let query = r#"{"query":"{__typename}"}"#;
    for (headers, body, status) in [
        ("content-type: text/plain\r\n", query, 415),
        ("content-type: application/x-www-form-urlencoded\r\n", "query={__typename}", 415),
        ("", query, 415),
        ("content-type: application/json; charset=utf-8\r\n", query, 200),
        ("content-type: application/json\r\n", "{", 400),
        ("content-type: application/json\r\n", r#"{"query": 1}"#, 400),
        ("content-type: application/json\r\n", "[]", 400),
    ] {
        let answer = running.send("POST", "/graphql", headers, body).await;
        assert_eq!(answer.status, status, "{headers}{body}: {}", answer.body);
        assert!(status == 200 || answer.json()["errors"][0]["extensions"]["code"].is_string());
    }
    let large = json!({ "query": format!("{{__typename}} # {}", "x".repeat(70_000)) });
    assert_eq!(running.post(&large).await.status, 413);
    for (method, path, status) in [
        ("GET", "/graphql", 400),
        ("GET", "/graphql?query=%7B__typename%7D&variables=1", 400),
        ("GET", "/graphql?query=mutation%7Bx%7D", 405),
        ("PUT", "/graphql", 405),
        ("GET", "/elsewhere", 404),
    ] {
        assert_eq!(running.send(method, path, "", "").await.status, status, "{method} {path}");
    }
    running.end().await;
}

#[tokio::test]
async fn readiness_says_what_is_amiss() {
    let running = serve(0).await;
    assert_eq!(running.send("GET", "/healthz", "", "").await.status, 200);
    let ready = running.send("GET", "/readyz", "", "").await;
    assert_eq!((ready.status, ready.json()), (200, json!({ "status": "ready", "lag": 0 })));

    *running.fault.lock().unwrap() = Some("the queue `q` has no leader".to_owned());
    let queue = running.send("GET", "/readyz", "", "").await;
    let said = (queue.json()["reason"].clone(), queue.json()["message"].clone());
    assert_eq!((queue.status, said), (503, (json!("queue"), json!("the queue `q` has no leader"))));
    *running.fault.lock().unwrap() = None;

    let two = capture().into_iter().skip(100).take(2).map(Into::into);
    running.indexed.append(two.collect()).await;
    let behind = running.send("GET", "/readyz", "", "").await;
    assert_eq!((behind.status, behind.json()["reason"].clone()), (503, json!("lag")));

    running.indexed.execute("alter table _sqlx_migrations rename to gone").await;
    let version = running.send("GET", "/readyz", "", "").await;
    assert_eq!((version.status, version.json()["reason"].clone()), (503, json!("schema-version")));
    running.indexed.execute("alter table gone rename to _sqlx_migrations").await;

    // Something breaks in the middle: the caller learns an id, not the cause.
    running.indexed.execute("alter table derived.topic_names rename to gone").await;
    let broken = running.post(&json!({ "query": "{ topics { nodes { id } } }" })).await;
    assert_eq!(broken.json()["errors"][0]["extensions"]["code"], "INTERNAL");
    assert!(broken.json()["errors"][0]["extensions"]["requestId"].is_string());
    assert!(!broken.body.contains("derived") && !broken.body.contains("42P01"), "{}", broken.body);
    running.end().await;
}

#[tokio::test]
async fn a_taken_address_is_one_clear_sentence() {
    let running = serve(0).await;
    let options = Options {
        listen: running.addr,
        store: running.indexed.connect(),
        network: "test".into(),
        queue: queue(),
        metrics: None,
        health: None,
        queue_fault: Arc::new(|| None),
        max_lag: 0,
        workers: 1,
    };
    let error = Server::bind(options).unwrap_err().to_string();
    assert!(error.contains(&running.addr.to_string()), "{error}");
    running.end().await;
}
