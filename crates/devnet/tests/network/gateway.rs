//! The HTTP/JSON gateway's unary calls.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Once;

use bytes::Bytes;
use devnet::{Devnet, Options};
use flate2::read::GzDecoder;
use prost::Message;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use wire::proto::message_api::{QueryResponse, SortDirection};

use crate::node::{ASCENDING, envelope, paged, publish, start};

const TOPIC: &str = "/xmtp/0/m-a/proto";

pub(crate) async fn gateway() -> (Devnet, Client, String) {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().unwrap();
    });
    let http = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let (devnet, _) = start(Options { http, ..Options::default() }).await;
    let url = devnet.http_url().unwrap();
    (devnet, Client::new(), format!("{url}/message/v1"))
}

async fn post(client: &Client, url: String, body: impl ToString) -> (StatusCode, Value) {
    let response = client.post(url).body(body.to_string()).send().await.unwrap();
    let status = response.status();
    assert_eq!(header(&response, "content-type"), "application/json");
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap())
}

fn header(response: &Response, name: &str) -> String {
    let value = response.headers().get(name).map(|value| value.to_str().unwrap());
    value.unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_query_looks_as_on_the_network() {
    let (devnet, client, url) = gateway().await;
    let row = envelope(TOPIC, 1_706_745_600_000_000_000, "hello \u{fe}\u{ff}");
    devnet.preload(vec![row.clone()]);
    let mut body = json!({
        "contentTopics": [TOPIC], "startTimeNs": "0", "endTimeNs": "0",
        "pagingInfo": {"limit": 1, "direction": "SORT_DIRECTION_ASCENDING"}
    });
    let (status, page) = post(&client, format!("{url}/query"), &body).await;
    assert_eq!(status, 200);
    let digest = base64(row.digest().as_bytes());
    let cursor = json!({"index": {"digest": digest, "senderTimeNs": "1706745600000000000"}});
    assert_eq!(
        page,
        json!({
            "envelopes": [{
                "contentTopic": TOPIC,
                "timestampNs": "1706745600000000000",
                "message": base64(&row.message),
            }],
            "pagingInfo": {
                "limit": 1, "cursor": cursor, "direction": "SORT_DIRECTION_ASCENDING"
            }
        })
    );
    body["pagingInfo"]["cursor"] = page["pagingInfo"]["cursor"].clone();
    let (_, page) = post(&client, format!("{url}/query"), &body).await;
    assert_eq!(
        page,
        json!({
            "envelopes": [],
            "pagingInfo": {"limit": 0, "cursor": null, "direction": "SORT_DIRECTION_ASCENDING"}
        })
    );
}

#[tokio::test]
async fn bodies_may_be_spelled_in_every_way_of_protobufs_json() {
    let (devnet, client, url) = gateway().await;
    let spellings = [
        json!({"envelopes": [{"contentTopic": TOPIC, "timestampNs": "5", "message": "+/8="}]}),
        json!({"envelopes": [{"content_topic": TOPIC, "timestamp_ns": 5, "message": "-_8"}],
               "unknown": {"x": [1]}}),
        json!({"envelopes": [{"contentTopic": TOPIC, "timestampNs": 5, "message": "+/8",
               "new": null}]}),
    ];
    for body in spellings {
        let answer = post(&client, format!("{url}/publish"), &body).await;
        assert_eq!(answer, (StatusCode::OK, json!({})), "{body}");
        assert_eq!(devnet.stored(), 1, "{body}");
    }
    let mut cursor = [0; 32];
    cursor[31] = 1;
    for paging in [
        json!({"limit": 1, "direction": 1}),
        json!({"limit": "1", "direction": "SORT_DIRECTION_ASCENDING", "cursor": null}),
        json!({"limit": 1, "direction": 1,
               "cursor": {"index": {"sender_time_ns": 4, "digest": base64(&cursor)}}}),
    ] {
        for (topics, start, info) in [
            ("contentTopics", "startTimeNs", "pagingInfo"),
            ("content_topics", "start_time_ns", "paging_info"),
        ] {
            let body = json!({topics: [TOPIC], start: null, info: paging});
            let (status, page) = post(&client, format!("{url}/query"), &body).await;
            assert_eq!(status, 200, "{body}");
            assert_eq!(page["envelopes"][0]["message"], "+/8=", "{body}");
            assert_eq!(page["pagingInfo"]["direction"], "SORT_DIRECTION_ASCENDING", "{body}");
        }
    }
    for body in [
        json!({"contentTopics": TOPIC}),
        json!({"contentTopics": [TOPIC], "startTimeNs": -1}),
        json!({"contentTopics": [TOPIC], "startTimeNs": "18446744073709551616"}),
        json!({"contentTopics": [TOPIC], "pagingInfo": {"direction": "UP"}}),
        json!({"contentTopics": [TOPIC], "pagingInfo": {"cursor": {"index": {"digest": "*"}}}}),
        json!({"contentTopics": [TOPIC], "pagingInfo": {"limit": 4_294_967_296_u64}}),
        json!([]),
    ] {
        let (status, error) = post(&client, format!("{url}/query"), &body).await;
        assert_eq!((status.as_u16(), &error["code"]), (400, &json!(3)), "{body}");
    }
}

#[tokio::test]
async fn refusals_have_the_http_status_of_their_code() {
    let (_devnet, client, url) = gateway().await;
    for (path, body, status, error) in [
        ("query", "{}", 400, (3, "content topics required")),
        ("query", "", 400, (3, "content topics required")),
        (
            "query",
            r#"{"contentTopics":["t"],"pagingInfo":{"limit":101}}"#,
            400,
            (3, "cannot exceed 100 rows per query"),
        ),
        ("batch-query", r#"{"requests":[{}]}"#, 500, (13, "content topics required")),
        ("nothing", "{}", 404, (5, "Not Found")),
    ] {
        let answer = post(&client, format!("{url}/{path}"), body).await;
        let expected = json!({"code": error.0, "message": error.1, "details": []});
        assert_eq!((answer.0.as_u16(), answer.1), (status, expected), "{path} {body}");
    }
    let wrong = client.get(format!("{url}/query")).send().await.unwrap();
    assert_eq!(wrong.status(), StatusCode::NOT_IMPLEMENTED);
    let large = Bytes::from(vec![b' '; (50 << 20) + 1]);
    let refused = client.post(format!("{url}/query")).body(large).send().await;
    // The gateway may hang up before it has all of it.
    if let Ok(response) = refused {
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}

#[tokio::test]
async fn a_batch_answers_each_query() {
    let (devnet, client, url) = gateway().await;
    devnet.preload(vec![envelope(TOPIC, 5, "x")]);
    let body = json!({"requests": [{"contentTopics": ["t"]}, {"contentTopics": [TOPIC]}]});
    let (status, answer) = post(&client, format!("{url}/batch-query"), &body).await;
    assert_eq!(status, 200);
    let responses = answer["responses"].as_array().unwrap();
    assert_eq!(responses[0]["envelopes"], json!([]));
    assert_eq!(responses[1]["envelopes"][0]["timestampNs"], "5");
    let unset = SortDirection::Unspecified.as_str_name();
    assert_eq!(responses[1]["pagingInfo"], json!({"limit": 0, "cursor": null, "direction": unset}));
}

#[tokio::test]
async fn protobuf_goes_in_and_out() {
    const FORM: &str = "application/x-protobuf";
    let (devnet, client, url) = gateway().await;
    let body = publish(&[envelope(TOPIC, 5, "x")]).encode_to_vec();
    let request = client.post(format!("{url}/publish")).header("content-type", FORM).body(body);
    let response = request.send().await.unwrap();
    assert_eq!(
        (response.status(), header(&response, "content-type")),
        (StatusCode::OK, FORM.into())
    );
    assert_eq!(devnet.stored(), 1);
    let query = paged(&[TOPIC], 0, ASCENDING);
    for (sends, accepts, answers) in [
        (FORM, "*/*", FORM),
        (FORM, "application/json", "application/json"),
        ("application/json", FORM, FORM),
    ] {
        let body = match sends {
            FORM => query.encode_to_vec(),
            _ => json!({"contentTopics": [TOPIC], "pagingInfo": {"direction": 1}})
                .to_string()
                .into_bytes(),
        };
        let request = client.post(format!("{url}/query")).body(body);
        let request = request.header("content-type", sends).header("accept", accepts);
        let response = request.send().await.unwrap();
        assert_eq!(header(&response, "content-type"), answers);
        if answers == FORM {
            let page = QueryResponse::decode(response.bytes().await.unwrap()).unwrap();
            assert_eq!(page.envelopes[0].timestamp_ns, 5);
        }
    }
    let bad = client.post(format!("{url}/query")).header("content-type", FORM).body("\u{7}xx");
    assert_eq!(bad.send().await.unwrap().status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn only_queries_are_zipped_and_only_when_asked() {
    let (devnet, client, url) = gateway().await;
    devnet.preload((0..50).map(|time| envelope(TOPIC, time, "x")).collect());
    let query = json!({"contentTopics": [TOPIC]});
    let batch = json!({"requests": [query]});
    for (path, body, accepts, zipped) in [
        ("query", &query, "gzip", true),
        ("batch-query", &batch, "br, gzip;q=1.0", true),
        ("query", &query, "br", false),
        ("publish", &json!({}), "gzip", false),
    ] {
        let request = client.post(format!("{url}/{path}")).header("accept-encoding", accepts);
        let response = request.body(body.to_string()).send().await.unwrap();
        assert_eq!(header(&response, "content-encoding") == "gzip", zipped, "{path}");
        let body = response.bytes().await.unwrap();
        let mut text = String::new();
        match zipped {
            true => GzDecoder::new(body.as_ref()).read_to_string(&mut text).unwrap(),
            false => body.as_ref().read_to_string(&mut text).unwrap(),
        };
        serde_json::from_str::<Value>(&text).unwrap();
    }
}

#[tokio::test]
async fn browsers_of_any_origin_may_call() {
    let (_devnet, client, url) = gateway().await;
    let preflight = client
        .request(Method::OPTIONS, format!("{url}/query"))
        .header("origin", "https://example.org")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "x-client-version, content-type");
    let response = preflight.send().await.unwrap();
    assert!(response.status().is_success());
    assert_eq!(header(&response, "access-control-allow-origin"), "*");
    let allowed = header(&response, "access-control-allow-headers");
    assert_eq!(allowed, "x-client-version, content-type");
    assert!(header(&response, "access-control-allow-methods").contains("POST"));
    for path in ["query", "nothing"] {
        let call = client.post(format!("{url}/{path}")).header("origin", "https://example.org");
        let response = call.body("{}").send().await.unwrap();
        assert_eq!(header(&response, "access-control-allow-origin"), "*", "{path}");
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
