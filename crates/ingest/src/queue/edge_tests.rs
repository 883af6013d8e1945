//! What is promised about the queue, held against a real broker.

use std::time::Duration;

use bytes::Bytes;
use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use store::Page;
use tokio_util::sync::CancellationToken;

use super::consumer::Session;
use super::publisher::{Publisher, PublisherOptions};
use super::testing::{self, clean_up, delete_index, queue};
use super::{Queue, channel, page, topology};

fn page_of(n: u64) -> Page {
    let envelope = wire::Envelope {
        topic: Bytes::from_static(b"/xmtp/0/m-1/proto"),
        timestamp_ns: n,
        message: Bytes::from(vec![7; 100]),
    };
    Page { source: "test".into(), progress: vec![], records: vec![envelope.into()] }
}

async fn publish(queue: &Queue, pages: std::ops::Range<u64>) {
    let (publisher, task) =
        Publisher::start(queue.clone(), PublisherOptions::default(), CancellationToken::new());
    for n in pages {
        publisher.send_page(page_of(n)).await.unwrap();
    }
    publisher.confirmed(publisher.last_sent()).await.unwrap();
    assert_eq!(publisher.spilled(), 0, "confirmed pages give their room back");
    drop(publisher);
    task.await.unwrap();
}

async fn take(session: &mut Session) -> (u64, u64, bool) {
    let delivery =
        tokio::time::timeout(Duration::from_secs(20), session.next()).await.unwrap().unwrap();
    let page = page::decode(delivery.body, testing::NETWORK).unwrap();
    (delivery.tag, page.records[0].envelope.timestamp_ns, delivery.redelivered)
}

#[tokio::test]
async fn what_is_confirmed_is_in_the_queue_in_order() {
    let queue = queue().await;
    publish(&queue, 0..500).await;
    assert_eq!(queue.depth().await.unwrap().ready, 500);
    let mut session = Session::open(&queue, 64).await.unwrap();
    for n in 0..500 {
        let (tag, got, redelivered) = take(&mut session).await;
        assert_eq!((got, redelivered), (n, false));
        if n % 50 == 49 {
            session.ack_through(tag).await.unwrap();
        }
    }
    session.requeue_rest().await;
    let depth = queue.depth().await.unwrap();
    assert_eq!((depth.ready, depth.parked), (0, 0));
    clean_up(&queue).await;
}

#[tokio::test]
async fn declaring_twice_is_harmless() {
    let queue = queue().await;
    queue.declare().await.unwrap();
    clean_up(&queue).await;
}

#[tokio::test]
async fn a_queue_with_other_arguments_is_refused_in_one_sentence() {
    let queue = queue().await;
    delete_index(&queue).await;
    let connection = queue.open("test").await.unwrap();
    let channel = channel(&connection).await.unwrap();
    let classic = QueueDeclareOptions::durable();
    let name = topology::short(&queue.names().queue);
    channel.queue_declare(name, classic, FieldTable::default()).await.unwrap();
    let error = queue.declare().await.unwrap_err().to_string();
    assert!(
        error.contains("with other settings") && error.contains("drain and delete it"),
        "{error}"
    );
    clean_up(&queue).await;
}

/// A page that the broker had no queue for is returned *and* acknowledged. It must not count as confirmed.
#[tokio::test]
async fn pages_published_while_the_queue_is_gone_arrive_all_the_same() {
    let queue = queue().await;
    let (publisher, task) =
        Publisher::start(queue.clone(), PublisherOptions::default(), CancellationToken::new());
    publisher.send_page(page_of(0)).await.unwrap();
    publisher.confirmed(1).await.unwrap();
    delete_index(&queue).await;
    for n in 1..200 {
        publisher.send_page(page_of(n)).await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(60), publisher.confirmed(200)).await.unwrap().unwrap();
    let mut session = Session::open(&queue, 1_000).await.unwrap();
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 199 {
        seen.insert(take(&mut session).await.1);
    }
    assert_eq!(seen, (1..200).collect());
    drop((publisher, session));
    task.await.unwrap();
    clean_up(&queue).await;
}

#[tokio::test]
async fn what_a_dropped_consumer_did_not_acknowledge_comes_again() {
    let queue = queue().await;
    publish(&queue, 0..10).await;
    let mut session = Session::open(&queue, 10).await.unwrap();
    let (mut third, mut n) = (0, 0);
    for _ in 0..10 {
        (third, n) = match take(&mut session).await {
            (tag, got @ 2, _) => (tag, got),
            _ => (third, n),
        };
    }
    assert_eq!(n, 2);
    session.ack_through(third).await.unwrap();
    session.requeue_rest().await;
    let mut session = Session::open(&queue, 10).await.unwrap();
    for n in 3..10 {
        let (_, got, redelivered) = take(&mut session).await;
        assert_eq!((got, redelivered), (n, true));
    }
    session.requeue_rest().await;
    clean_up(&queue).await;
}

#[tokio::test]
async fn no_more_is_handed_out_than_asked_for() {
    let queue = queue().await;
    publish(&queue, 0..10).await;
    let mut session = Session::open(&queue, 4).await.unwrap();
    for _ in 0..4 {
        take(&mut session).await;
    }
    let fifth = tokio::time::timeout(Duration::from_millis(500), session.next()).await;
    assert!(fifth.is_err(), "a fifth delivery came");
    session.requeue_rest().await;
    clean_up(&queue).await;
}

/// Nothing listens at the address: pages accumulate up to the bound, then senders wait, and a stop ends the wait.
#[tokio::test]
async fn a_broker_that_is_away_fills_the_spill_and_no_more() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let queue = Queue::at(&format!("amqp://127.0.0.1:{port}/%2f"), super::Names::default(), "test")
        .unwrap();
    let options =
        PublisherOptions { spill_bytes: page::MAX_BODY_BYTES, ..PublisherOptions::default() };
    let stop = CancellationToken::new();
    let (publisher, task) = Publisher::start(queue, options, stop.clone());
    let body = Bytes::from(vec![0; 1 << 20]);
    for _ in 0..15 {
        publisher.send(body.clone()).await.unwrap();
    }
    assert_eq!(publisher.spilled(), page::MAX_BODY_BYTES);
    let waiting =
        tokio::time::timeout(Duration::from_millis(300), publisher.send(body.clone())).await;
    assert!(waiting.is_err(), "there was room beyond the bound");
    let blocked = {
        let publisher = publisher.clone();
        tokio::spawn(async move { publisher.send(body).await })
    };
    stop.cancel();
    task.await.unwrap();
    assert!(blocked.await.unwrap().is_err());
    assert!(publisher.confirmed(1).await.is_err());
}
