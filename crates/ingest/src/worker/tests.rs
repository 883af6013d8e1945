//! The worker between a real queue and a real log.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use store::{Options, Page, Position, Store};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Worker, WorkerOptions};
use crate::error::Result;
use crate::queue::publisher::{Publisher, PublisherOptions};
use crate::queue::{Queue, testing};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A database and a queue of its own.
struct House {
    admin: Store,
    name: String,
    store: Store,
    queue: Queue,
}

impl House {
    #[expect(clippy::disallowed_methods, reason = "tests get their database from the environment")]
    async fn new() -> Self {
        let url = std::env::var("DATABASE_URL")
            .expect("DATABASE_URL names the server to test on; bin/test starts one and sets it");
        let admin =
            Store::connect(Options { max_connections: 1, ..Options::new(&url) }).await.unwrap();
        let name =
            format!("ingest{}_{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        admin
            .client()
            .await
            .unwrap()
            .batch_execute(&format!("create database {name}"))
            .await
            .unwrap();
        let (server, _) = url.rsplit_once('/').unwrap();
        let store = Store::connect(Options::new(format!("{server}/{name}"))).await.unwrap();
        store.migrate().await.unwrap();
        Self { admin, name, store, queue: testing::queue().await }
    }

    async fn admin(&self, sql: &str) {
        self.admin.client().await.unwrap().batch_execute(sql).await.unwrap();
    }

    fn work(&self, token: &CancellationToken) -> JoinHandle<Result<()>> {
        let worker = Worker {
            queue: self.queue.clone(),
            store: self.store.clone(),
            options: WorkerOptions::default(),
        };
        tokio::spawn(worker.run(token.clone()))
    }

    async fn head_reaches(&self, position: i64) {
        for _ in 0..600 {
            if self.store.head().await.is_ok_and(|head| head >= Position(position)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the log did not reach {position}: {:?}", self.store.head().await);
    }

    async fn clean_up(self) {
        testing::clean_up(&self.queue).await;
        drop(self.store);
        self.admin
            .client()
            .await
            .unwrap()
            .batch_execute(&format!("drop database {} with (force)", self.name))
            .await
            .unwrap();
    }
}

fn envelope(topic: &'static str, timestamp_ns: u64) -> wire::Envelope {
    wire::Envelope {
        topic: Bytes::from_static(topic.as_bytes()),
        timestamp_ns,
        message: Bytes::from_static(b"m"),
    }
}

fn page(cursor: Option<&'static [u8]>, envelopes: Vec<wire::Envelope>) -> Page {
    Page { source: "node".into(), cursor: cursor.map(Bytes::from_static), envelopes }
}

#[tokio::test]
async fn pages_become_rows_and_what_cannot_be_stored_is_parked() {
    let house = House::new().await;
    let (publisher, _publishing) = Publisher::start(
        house.queue.clone(),
        PublisherOptions::default(),
        CancellationToken::new(),
    );
    publisher.send(Bytes::from_static(b"\xff\xff not a page")).await.unwrap();
    for n in 0..50 {
        let bad = envelope("a topic with a \0 in it", n);
        publisher
            .send_page(page(None, vec![envelope("t", n), bad, envelope("t", n)]))
            .await
            .unwrap();
    }
    let last = publisher.send_page(page(Some(b"here"), vec![])).await.unwrap();
    publisher.confirmed(last).await.unwrap();

    let token = CancellationToken::new();
    let working = house.work(&token);
    house.head_reaches(50).await;
    token.cancel();
    working.await.unwrap().unwrap();

    assert_eq!(house.store.head().await.unwrap(), Position(50));
    assert_eq!(house.store.parked_count().await.unwrap(), 51);
    let parked = house.store.parked_list(0, 100).await.unwrap();
    assert!(
        parked.iter().any(|p| p.source == "queue" && p.envelope.message.ends_with(b"not a page"))
    );
    let cursor = house.store.source("node").await.unwrap().unwrap().cursor;
    assert_eq!(cursor.as_deref(), Some(b"here".as_slice()));
    let depth = house.queue.depth().await.unwrap();
    assert_eq!((depth.ready, depth.consumers), (0, 0), "everything is acknowledged");
    house.clean_up().await;
}

#[tokio::test]
async fn while_the_database_is_away_pages_stay_and_then_arrive() {
    let house = House::new().await;
    let token = CancellationToken::new();
    let working = house.work(&token);
    let (publisher, _publishing) = Publisher::start(
        house.queue.clone(),
        PublisherOptions::default(),
        CancellationToken::new(),
    );
    publisher.send_page(page(None, vec![envelope("t", 0)])).await.unwrap();
    house.head_reaches(1).await;

    house.admin(&format!("alter database {} with allow_connections false", house.name)).await;
    house
        .admin(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'",
            house.name
        ))
        .await;
    for n in 1..200 {
        publisher.send_page(page(None, vec![envelope("t", n)])).await.unwrap();
    }
    publisher.confirmed(200).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!working.is_finished(), "a worker outlives the database");
    assert_eq!(house.queue.depth().await.unwrap().parked, 0);

    house.admin(&format!("alter database {} with allow_connections true", house.name)).await;
    house.head_reaches(200).await;
    token.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(house.store.parked_count().await.unwrap(), 0);
    house.clean_up().await;
}

#[tokio::test]
async fn what_a_worker_had_taken_when_it_was_stopped_is_done_by_the_next() {
    let house = House::new().await;
    let (publisher, _publishing) = Publisher::start(
        house.queue.clone(),
        PublisherOptions::default(),
        CancellationToken::new(),
    );
    let mut redone = 0;
    for round in 0..4 {
        let token = CancellationToken::new();
        let working = house.work(&token);
        for n in 0..300 {
            publisher.send_page(page(None, vec![envelope("t", round * 300 + n)])).await.unwrap();
        }
        // Killed, not asked: the task is dropped wherever it is, as a crash would.
        working.abort();
        redone += u32::from(working.await.is_err());
    }
    assert_eq!(redone, 4, "each was stopped in the middle");
    let token = CancellationToken::new();
    let working = house.work(&token);
    house.head_reaches(1_200).await;
    token.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(house.store.head().await.unwrap(), Position(1_200));
    house.clean_up().await;
}
