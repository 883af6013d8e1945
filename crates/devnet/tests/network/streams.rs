//! The three subscriptions: what they carry, and how they end.

use std::time::{Duration, Instant};

use devnet::{Generator, Options};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Streaming};
use wire::proto::message_api::{Envelope, SubscribeAllRequest, SubscribeRequest};

use crate::node::{Client, connect, empty, envelope, publish, start};

const SOON: Duration = Duration::from_secs(20);
const A: &str = "/xmtp/0/m-a/proto";
const B: &str = "/xmtp/0/m-b/proto";

fn to(topics: &[&str]) -> SubscribeRequest {
    SubscribeRequest { content_topics: topics.iter().map(|topic| (*topic).to_owned()).collect() }
}

/// The stream, once it is sure that the node has it registered.
fn opened(response: Response<Streaming<Envelope>>) -> Streaming<Envelope> {
    assert_eq!(response.metadata().get("subscribed").unwrap(), "true");
    response.into_inner()
}

async fn subscribe(client: &mut Client, topics: &[&str]) -> Streaming<Envelope> {
    opened(timeout(SOON, client.subscribe(to(topics))).await.unwrap().unwrap())
}

async fn subscribe_all(client: &mut Client) -> Streaming<Envelope> {
    opened(timeout(SOON, client.subscribe_all(SubscribeAllRequest {})).await.unwrap().unwrap())
}

/// What is left in the stream until it ends with status OK.
async fn rest(mut stream: Streaming<Envelope>) -> Vec<u64> {
    let mut times = Vec::new();
    while let Some(envelope) = timeout(SOON, stream.message()).await.unwrap().unwrap() {
        times.push(envelope.timestamp_ns);
    }
    times
}

#[tokio::test]
async fn they_carry_what_arrives_from_now_on_duplicates_and_ephemerals_too() {
    let (devnet, mut client) = empty().await;
    devnet.publish(vec![envelope(A, 1, "before")]);
    let all = subscribe_all(&mut client).await;
    let star = subscribe(&mut client, &["*"]).await;
    let some = subscribe(&mut client, &[A, "test-1", "/xmtp/0/mE-a/proto"]).await;
    let none = subscribe(&mut client, &[]).await;
    let sent = [
        envelope(B, 9, "not in the order of time"),
        envelope(A, 3, "x"),
        envelope(A, 3, "x"),
        envelope("/xmtp/0/mE-a/proto", 4, "x"),
        envelope("/xmtp/0/dmE-0x0-0x1/proto", 5, "x"),
        envelope("test-1", 6, "x"),
        envelope("/xmtp/mls/1/g-00/proto", 7, "x"),
        envelope("/xmtp/3/contact-x/proto", 8, "x"),
    ];
    client.publish(publish(&sent)).await.unwrap();
    // All but the two ephemeral ones and the duplicate.
    assert_eq!(devnet.stored(), 1 + 5);
    devnet.preload(vec![envelope(A, 100, "history is not relayed")]);
    devnet.drop_streams();
    assert_eq!(rest(all).await, [9, 3, 3, 4, 5, 7]);
    assert_eq!(rest(star).await, [9, 3, 3, 4, 5, 7]);
    assert_eq!(rest(some).await, [3, 3, 4, 6]);
    assert!(rest(none).await.is_empty());
    // A node that restarts takes new subscriptions.
    let again = subscribe_all(&mut client).await;
    devnet.publish(vec![envelope(A, 10, "x")]);
    devnet.stop().await;
    assert_eq!(rest(again).await, [10]);
}

#[tokio::test]
async fn subscribe2_replaces_its_topics() {
    let (devnet, mut client) = empty().await;
    let (ask, asked) = mpsc::channel(1);
    let answer = timeout(SOON, client.subscribe2(ReceiverStream::new(asked))).await.unwrap();
    let mut stream = opened(answer.unwrap());
    // When a request has arrived cannot be seen; that its topics are relayed can.
    for (topics, mine, other, time) in [(vec![A], A, B, 1), (vec![B], B, A, 2)] {
        ask.send(to(&topics)).await.unwrap();
        loop {
            devnet.publish(vec![envelope(other, 100 + time, "x"), envelope(mine, time, "x")]);
            if let Ok(envelope) = timeout(Duration::from_millis(20), stream.message()).await
                && envelope.unwrap().unwrap().timestamp_ns == time
            {
                break;
            }
        }
        // What the loop above had sent more than once comes before this, and nothing of the other topic does.
        devnet.publish(vec![envelope(other, 100 + time, "x"), envelope(mine, 10 + time, "x")]);
        loop {
            let envelope = timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
            if envelope.timestamp_ns == 10 + time {
                break;
            }
            assert_eq!(envelope.timestamp_ns, time);
        }
    }
    // Closing the client's side changes nothing. When the node learns of it cannot be seen: some of these come after that.
    drop(ask);
    for time in 20..120 {
        client.publish(publish(&[envelope(B, time, "x")])).await.unwrap();
        let envelope = timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
        assert_eq!(envelope.timestamp_ns, time);
    }
    devnet.drop_streams();
    assert!(rest(stream).await.is_empty());
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_hung_up_on_with_ok() {
    let (devnet, mut client) = empty().await;
    let mut other = connect(&devnet).await;
    let slow = subscribe_all(&mut client).await;
    let kind = subscribe(&mut other, &[B]).await;
    let text = "x".repeat(1_000);
    let sent = 30_000;
    devnet.publish((0..sent).map(|time| envelope(A, time, &text)).collect());
    let read = rest(slow).await;
    assert!((4_096..sent).contains(&(read.len() as u64)), "{}", read.len());
    assert_eq!(read, (0..read.len() as u64).collect::<Vec<_>>());
    assert_eq!(devnet.stored() as u64, sent);
    devnet.publish(vec![envelope(B, 1, "x")]);
    devnet.drop_streams();
    assert_eq!(rest(kind).await, [1]);
}

#[tokio::test]
async fn without_a_rate_the_generator_waits_for_its_readers() {
    let limit = 12_000;
    let generator = Generator { limit: Some(limit), ..Generator::new(7) };
    let options =
        Options { generate: Some(generator), wait_for_subscriber: true, ..Options::default() };
    let (devnet, mut client) = start(options).await;
    assert_eq!(devnet.stored(), 0);
    let mut other = connect(&devnet).await;
    let mut stream = subscribe_all(&mut client).await;
    let late = subscribe_all(&mut other).await;
    // Their buffers at the node are filled, and so are those of their connections.
    let began = Instant::now();
    while devnet.stored() < 4_096 {
        assert!(began.elapsed() < SOON, "{} were made", devnet.stored());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Beyond them nothing is made before it is read. That something does not happen takes time to see: a slow machine may
    // see too little, and never too much.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(devnet.stored() < limit as usize);
    let mut read = 0;
    let late = tokio::spawn(rest(late));
    while read < limit {
        assert!(timeout(SOON, stream.message()).await.unwrap().unwrap().is_some());
        read += 1;
    }
    timeout(SOON, devnet.finished()).await.unwrap();
    assert_eq!(devnet.stored() as u64, limit);
    devnet.drop_streams();
    assert!(stream.message().await.unwrap().is_none());
    assert!(!late.await.unwrap().is_empty());
}

#[tokio::test]
async fn stopping_ends_the_streams_with_ok_and_closes_the_port() {
    let (devnet, mut client) = empty().await;
    let stream = subscribe_all(&mut client).await;
    let (_ask, asked) = mpsc::channel(1);
    let two = opened(client.subscribe2(ReceiverStream::new(asked)).await.unwrap());
    let url = devnet.grpc_url();
    timeout(SOON, devnet.stop()).await.unwrap();
    assert!(rest(stream).await.is_empty());
    assert!(rest(two).await.is_empty());
    Client::connect(url).await.unwrap_err();
}
