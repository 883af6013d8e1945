//! The worker between a real queue and a real log.

use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};
use store::{Options, Origin, Page, Position, Progress, Record, Store};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Worker, WorkerOptions};
use crate::error::Result;
use crate::queue::publisher::{Publisher, PublisherOptions};
use crate::queue::{Queue, testing};

/// A database and a queue of its own.
struct World {
    options: PgConnectOptions,
    store: Store,
    queue: Queue,
}

impl World {
    async fn on(options: PgConnectOptions) -> Self {
        let store = Store::connect(Options::new(url(&options))).await.unwrap();
        Self { options, store, queue: testing::queue().await }
    }

    /// Runs a statement in another database of the server. `{}` stands for the database's name.
    async fn administer(&self, sql: &str) {
        let mut outside = self.options.clone().database("postgres").connect().await.unwrap();
        let sql = sql.replace("{}", self.options.get_database().unwrap());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut outside).await.unwrap();
        outside.close().await.unwrap();
    }

    fn work(&self, token: &CancellationToken) -> JoinHandle<Result<()>> {
        let worker = Worker {
            queue: self.queue.clone(),
            store: self.store.clone(),
            options: WorkerOptions::default(),
        };
        tokio::spawn(worker.run(token.clone()))
    }

    fn publisher(&self) -> Publisher {
        let token = CancellationToken::new();
        Publisher::start(self.queue.clone(), PublisherOptions::default(), token).0
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
        self.store.close().await;
    }
}

/// The address of a database, without the settings that only sqlx understands.
fn url(options: &PgConnectOptions) -> String {
    let mut url = options.to_url_lossy();
    url.set_query(None);
    url.to_string()
}

fn record(topic: &'static str, timestamp_ns: u64) -> Record {
    let topic = Bytes::from_static(topic.as_bytes());
    wire::Envelope { topic, timestamp_ns, message: Bytes::from_static(b"m") }.into()
}

fn page(records: Vec<Record>) -> Page {
    Page { source: "node".into(), progress: Vec::new(), records }
}

#[sqlx::test(migrator = "store::migrate::MIGRATOR")]
async fn pages_become_rows_and_what_cannot_be_stored_is_parked(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let world = World::on(options).await;
    let publisher = world.publisher();
    publisher.send(Bytes::from_static(b"\xff\xff not a page")).await.unwrap();
    for n in 0..50 {
        let bad = record("a topic with a \0 in it", n);
        publisher.send_page(page(vec![record("t", n), bad, record("t", n)])).await.unwrap();
    }
    let progress = |shard: &str, upto| Progress { shard: shard.into(), upto };
    let shards = vec![progress("a", 7), progress("b", -1)];
    let last = publisher.send_page(Page { progress: shards, ..page(vec![]) }).await.unwrap();
    publisher.confirmed(last).await.unwrap();

    let token = CancellationToken::new();
    let working = world.work(&token);
    world.head_reaches(50).await;
    token.cancel();
    working.await.unwrap().unwrap();

    assert_eq!(world.store.head().await.unwrap(), Position(50));
    assert_eq!(world.store.parked_count().await.unwrap(), 51);
    let parked = world.store.parked_list(0, 100).await.unwrap();
    assert!(parked.iter().any(|one| {
        one.source == "queue" && one.record.envelope.message.ends_with(b"not a page")
    }));
    let source = world.store.source("node").await.unwrap().unwrap();
    assert_eq!((source.upto("a"), source.upto("b")), (7, -1));
    let depth = world.queue.depth().await.unwrap();
    assert_eq!((depth.ready, depth.consumers), (0, 0), "everything is acknowledged");
    world.clean_up().await;
}

#[sqlx::test(migrator = "store::migrate::MIGRATOR")]
async fn numbers_of_a_source_come_through_the_queue(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::on(options).await;
    let numbered = |sequence, message: &'static [u8]| {
        let envelope =
            wire::Envelope { message: Bytes::from_static(message), ..record("t", 1).envelope };
        Record { envelope, origin: Some(Origin { space: 100, sequence }) }
    };
    let publisher = world.publisher();
    // Equal bytes under two numbers are two envelopes; other bytes under a number that is in use are a conflict.
    let records = vec![numbered(1, b"a"), numbered(2, b"a"), numbered(2, b"b"), numbered(3, b"c")];
    publisher.send_page(page(records)).await.unwrap();
    let token = CancellationToken::new();
    let working = world.work(&token);
    world.head_reaches(3).await;
    token.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(world.store.head().await.unwrap(), Position(3));
    assert_eq!(world.store.parked_count().await.unwrap(), 0);
    world.clean_up().await;
}

#[sqlx::test(migrator = "store::migrate::MIGRATOR")]
async fn while_the_database_is_away_pages_stay_and_then_arrive(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let world = World::on(options).await;
    let token = CancellationToken::new();
    let working = world.work(&token);
    let publisher = world.publisher();
    publisher.send_page(page(vec![record("t", 0)])).await.unwrap();
    world.head_reaches(1).await;

    world.administer("alter database \"{}\" with allow_connections false").await;
    world
        .administer("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'")
        .await;
    for n in 1..200 {
        publisher.send_page(page(vec![record("t", n)])).await.unwrap();
    }
    publisher.confirmed(200).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!working.is_finished(), "a worker outlives the database");
    assert_eq!(world.queue.depth().await.unwrap().parked, 0);

    world.administer("alter database \"{}\" with allow_connections true").await;
    world.head_reaches(200).await;
    token.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(world.store.parked_count().await.unwrap(), 0);
    world.clean_up().await;
}

#[sqlx::test(migrator = "store::migrate::MIGRATOR")]
async fn what_a_worker_had_taken_when_it_was_stopped_is_done_by_the_next(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let world = World::on(options).await;
    let publisher = world.publisher();
    let mut stopped = 0;
    for round in 0..4 {
        let token = CancellationToken::new();
        let working = world.work(&token);
        for n in 0..300 {
            publisher.send_page(page(vec![record("t", round * 300 + n)])).await.unwrap();
        }
        // The task is dropped wherever it is, as a crash would.
        working.abort();
        stopped += u32::from(working.await.is_err());
    }
    assert_eq!(stopped, 4, "each was stopped in the middle");
    let token = CancellationToken::new();
    let working = world.work(&token);
    world.head_reaches(1_200).await;
    token.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(world.store.head().await.unwrap(), Position(1_200));
    world.clean_up().await;
}
