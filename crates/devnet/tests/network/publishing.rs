//! `Publish`: what is taken, what is kept, what is refused.

use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::node::{ASCENDING, empty, envelope, paged, publish, times};

const TOPIC: &str = "/xmtp/0/m-a/proto";

#[tokio::test]
async fn an_envelope_is_its_topic_time_and_content() {
    let (devnet, mut client) = empty().await;
    let one = envelope(TOPIC, 1, "x");
    for again in [
        one.clone(),
        one.clone(),
        envelope(TOPIC, 2, "x"),
        envelope(TOPIC, 1, "y"),
        envelope("/xmtp/0/m-b/proto", 1, "x"),
    ] {
        client.publish(publish(&[again])).await.unwrap();
    }
    assert_eq!(devnet.stored(), 4);
    let answer = client.query(paged(&[TOPIC], 0, ASCENDING)).await.unwrap();
    assert_eq!(times(answer.get_ref()), [1, 1, 2]);
    // A token is taken, not asked for.
    let mut request = tonic::Request::new(publish(&[envelope(TOPIC, 3, "x")]));
    request.metadata_mut().insert("authorization", "Bearer x".parse().unwrap());
    client.publish(request).await.unwrap();
    assert_eq!(devnet.stored(), 5);
}

#[tokio::test]
async fn topics_and_payloads_have_a_limit() {
    let (devnet, mut client) = empty().await;
    let head = "/xmtp/0/m-";
    let longest = format!("{head}{}", "a".repeat(300 - head.len()));
    let largest = "x".repeat(1_048_214);
    client.publish(publish(&[envelope(&longest, 1, &largest)])).await.unwrap();
    for (topic, message, text) in [
        (format!("{longest}a"), "x".to_owned(), "topic length too big"),
        (longest.clone(), format!("{largest}x"), "message too big"),
    ] {
        let refused = client.publish(publish(&[envelope(&topic, 2, &message)])).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::InvalidArgument, text));
    }
    let mut broken = envelope(TOPIC, 1, "x");
    broken.topic = bytes::Bytes::from_static(b"/xmtp/0/m-\xff");
    let refused = client.publish(publish(&[broken.clone()])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Internal);
    assert_eq!(devnet.stored(), 1);
    // The owner of the network may say anything.
    devnet.publish(vec![broken]);
    assert_eq!(devnet.stored(), 2);
}

#[tokio::test]
async fn what_came_before_a_refused_envelope_stays() {
    let (devnet, mut client) = empty().await;
    let all =
        [envelope(TOPIC, 1, "x"), envelope(&"t".repeat(301), 2, "x"), envelope(TOPIC, 3, "x")];
    client.publish(publish(&all)).await.unwrap_err();
    assert_eq!(devnet.stored(), 1);
}

#[tokio::test]
async fn requests_of_many_mebibytes_are_read_up_to_fifty() {
    let (devnet, mut client) = empty().await;
    let message = "x".repeat(1_000_000);
    let many = |n| (0..n).map(|time| envelope(TOPIC, time, &message)).collect::<Vec<_>>();
    client.publish(publish(&many(52))).await.unwrap();
    assert_eq!(devnet.stored(), 52);
    client.publish(publish(&many(53))).await.unwrap_err();
    assert_eq!(devnet.stored(), 52);
    let page = client.query(paged(&[TOPIC], 100, ASCENDING)).await.unwrap().into_inner();
    assert_eq!(page.envelopes.len(), 52);
}

#[tokio::test]
async fn it_says_that_it_is_healthy() {
    let (devnet, _client) = empty().await;
    let channel = tonic::transport::Channel::from_shared(devnet.grpc_url()).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    for service in ["", "xmtp.message_api.v1.MessageApi"] {
        let request = HealthCheckRequest { service: service.into() };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(answer.status, ServingStatus::Serving as i32, "{service}");
    }
}
