//! The HTTP/JSON gateway's streams.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use crate::gateway::gateway;
use crate::node::envelope;

const SOON: Duration = Duration::from_secs(20);
const QUIET: Duration = Duration::from_millis(300);

#[tokio::test]
async fn streams_are_lines_and_begin_with_the_first_envelope() {
    let (devnet, client, url) = gateway().await;
    let named = json!({"contentTopics": ["/xmtp/0/m-a/proto"]});
    for (path, body, expected) in [
        ("subscribe", named, vec!["1", "3", "4"]),
        ("subscribe-all", json!({}), vec!["1", "2", "3", "4"]),
    ] {
        let request = client.post(format!("{url}/{path}")).body(body.to_string()).send();
        let request = tokio::spawn(request);
        let began = Instant::now();
        while devnet.streams() == 0 {
            assert!(began.elapsed() < SOON, "nobody subscribes");
            sleep(Duration::from_millis(5)).await;
        }
        // Not even the head comes on a quiet topic. That something does not come takes time to see.
        sleep(QUIET).await;
        assert!(!request.is_finished());
        devnet.publish(vec![
            envelope("/xmtp/0/m-a/proto", 1, "x"),
            envelope("/xmtp/0/m-b/proto", 2, "y"),
            envelope("/xmtp/0/m-a/proto", 3, "z"),
        ]);
        let mut response = timeout(SOON, request).await.unwrap().unwrap().unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-metadata-subscribed"], "true");
        let mut text = Vec::new();
        while text.iter().filter(|byte| **byte == b'\n').count() < expected.len() - 1 {
            text.extend(timeout(SOON, response.chunk()).await.unwrap().unwrap().unwrap());
        }
        devnet.publish(vec![envelope("/xmtp/0/m-a/proto", 4, "x")]);
        devnet.drop_streams();
        while let Some(more) = timeout(SOON, response.chunk()).await.unwrap().unwrap() {
            text.extend(more);
        }
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let times: Vec<_> = lines.iter().map(|line| &line["result"]["timestampNs"]).collect();
        assert_eq!(times, expected, "{path}");
        assert_eq!(
            lines[0],
            json!({"result": {
                "contentTopic": "/xmtp/0/m-a/proto", "timestampNs": "1", "message": "eA=="
            }})
        );
    }
}

#[tokio::test]
async fn a_stream_that_cannot_begin_is_refused_like_a_call() {
    let (_devnet, client, url) = gateway().await;
    let request = client.post(format!("{url}/subscribe")).body("{\"contentTopics\":1}");
    let response = timeout(SOON, request.send()).await.unwrap().unwrap();
    assert_eq!(response.status(), 400);
    let error: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(error["code"], 3);
}
