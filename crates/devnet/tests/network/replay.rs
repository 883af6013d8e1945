//! Captured traffic: what is stored, what is played, when.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use devnet::generate::{Config, Traffic};
use devnet::{Devnet, Error, Generator, Options};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wire::Envelope;
use wire::proto::message_api::SubscribeAllRequest;

use crate::node::{Client, envelope, start};

const SOON: Duration = Duration::from_secs(20);

/// Traffic with what a firehose has and a store has not: duplicates and ephemeral envelopes.
fn captured() -> Vec<Envelope> {
    let mut traffic = Traffic::new(3, Config::default());
    let mut all = Vec::new();
    for action in 0..300 {
        all.extend(traffic.next(1_700_000_000_000_000_000 + action * 1_000_000_000));
    }
    all.push(all[7].clone());
    all.push(envelope("/xmtp/0/mE-a/proto", 1_700_000_400_000_000_000, "typing"));
    all
}

fn write(path: &Path, envelopes: &[Envelope]) {
    let mut text = String::new();
    for envelope in envelopes {
        let topic = std::str::from_utf8(&envelope.topic).unwrap();
        text += &wire::json::to_line(topic, envelope.timestamp_ns, &envelope.message);
        text += "\n";
    }
    std::fs::write(path, text).unwrap();
}

/// The next `n` envelopes of a firehose.
async fn firehose(client: &mut Client, n: usize) -> Vec<Envelope> {
    let stream = client.subscribe_all(SubscribeAllRequest {}).await.unwrap();
    let mut stream = stream.into_inner();
    let mut read = Vec::new();
    while read.len() < n {
        read.push(timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap().into());
    }
    read
}

#[tokio::test]
async fn captures_are_stored_at_once_and_played_in_order_to_the_first_subscriber() {
    let folder = tempfile::tempdir().unwrap();
    let all = captured();
    let (one, two) = all.split_at(100);
    let captures = vec![folder.path().join("one"), folder.path().join("two")];
    write(&captures[0], one);
    write(&captures[1], two);
    let options = Options { captures, wait_for_subscriber: true, ..Options::default() };
    let (devnet, mut client) = start(options).await;
    assert_eq!(devnet.stored(), all.len() - 2);
    assert!(timeout(Duration::from_millis(200), devnet.finished()).await.is_err());
    assert_eq!(firehose(&mut client, all.len()).await, all);
    timeout(SOON, devnet.finished()).await.unwrap();
    assert_eq!(devnet.stored(), all.len() - 2);
}

#[tokio::test]
async fn a_rate_is_kept_and_times_can_be_shifted_to_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture");
    write(&path, &[1, 500, 1_000].map(|time| envelope("/xmtp/0/m-a/proto", time, "x")));
    let options = Options {
        captures: vec![path],
        rate: Some(4),
        shift_times: true,
        wait_for_subscriber: true,
        ..Options::default()
    };
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let (_devnet, mut client) = start(options).await;
    let after = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let started = Instant::now();
    let read = firehose(&mut client, 3).await;
    assert!(started.elapsed() >= Duration::from_millis(450), "{:?}", started.elapsed());
    assert!((before..=after).contains(&read[2].timestamp_ns));
    assert_eq!(read[2].timestamp_ns - read[0].timestamp_ns, 999);
}

#[tokio::test]
async fn the_generator_follows_the_captures_and_the_store_forgets_its_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("capture");
    write(&path, &[envelope("/xmtp/0/m-a/proto", 1, "captured")]);
    let generator = Generator { limit: Some(500), keep: Some(50), ..Generator::new(1) };
    let options = Options {
        captures: vec![path],
        generate: Some(generator),
        wait_for_subscriber: true,
        ..Options::default()
    };
    let (devnet, mut client) = start(options).await;
    let read = firehose(&mut client, 501).await;
    assert_eq!(read[0].message, "captured");
    timeout(SOON, devnet.finished()).await.unwrap();
    assert_eq!(devnet.stored(), 1 + 50);
}

#[tokio::test]
async fn what_cannot_work_is_refused_with_what_to_do() {
    let refused = async |options| match Devnet::start(options, CancellationToken::new()).await {
        Err(error) => error,
        Ok(_) => panic!("it started"),
    };
    let generate = Some(Generator::new(1));
    let error = refused(Options { generate, ..Options::default() }).await;
    assert!(matches!(error, Error::Unbounded), "{error}");
    let error = refused(Options { rate: Some(0), ..Options::default() }).await;
    assert!(matches!(error, Error::ZeroRate), "{error}");
    let missing = vec!["/nowhere/at/all".into()];
    let error = refused(Options { captures: missing, ..Options::default() }).await;
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let error = refused(Options { grpc: address, ..Options::default() }).await;
    assert!(error.to_string().contains(&address.to_string()), "{error}");
    let error = refused(Options { http: Some(address), ..Options::default() }).await;
    assert!(matches!(error, Error::Listen { .. }), "{error}");
}
