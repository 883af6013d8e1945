//! The worker between a real queue and a real log.

use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection};
use store::{Options, Origin, Page, Position, Progress, Record, Store};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Worker, WorkerOptions};
use crate::error::Result;
use crate::queue::publisher::{Publisher, PublisherOptions};
use crate::queue::{Depth, Queue, page as body, testing};

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

    /// Waits until the queue is as it should be.
    async fn depth_becomes(&self, what: &str, wanted: impl Fn(Depth) -> bool) {
        let mut depth = Depth::default();
        for _ in 0..600 {
            depth = self.queue.depth().await.unwrap();
            if wanted(depth) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{what}: {depth:?}");
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
    // It has taken pages, cannot store them, and holds them.
    world.depth_becomes("a worker holds what it cannot store", |depth| depth.ready < 199).await;
    assert!(!working.is_finished(), "a worker outlives the database");
    assert_eq!(world.queue.depth().await.unwrap().parked, 0);

    world.administer("alter database \"{}\" with allow_connections true").await;
    world.head_reaches(200).await;
    token.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(world.store.parked_count().await.unwrap(), 0);
    world.clean_up().await;
}

/// Holds the row that every append locks, so that commits wait.
async fn hold_commits(options: &PgConnectOptions) -> PgConnection {
    let mut holder = options.connect().await.unwrap();
    sqlx::raw_sql("begin; select from ground.head for update").execute(&mut holder).await.unwrap();
    holder
}

/// A worker is dropped while it has pages in a commit that has not come to an end, as a crash would do it.
#[sqlx::test(migrator = "store::migrate::MIGRATOR")]
async fn what_a_worker_had_taken_when_it_was_stopped_is_done_by_the_next(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let world = World::on(options.clone()).await;
    let publisher = world.publisher();
    for round in 1..=3 {
        for n in 0..300 {
            publisher.send_page(page(vec![record("t", round * 300 + n)])).await.unwrap();
        }
        publisher.confirmed(publisher.last_sent()).await.unwrap();
        let holder = hold_commits(&options).await;
        let waiting = u32::try_from(round * 300).unwrap();
        let working = world.work(&CancellationToken::new());
        world.depth_becomes("pages are taken", |depth| depth.ready < waiting).await;
        working.abort();
        assert!(working.await.unwrap_err().is_cancelled(), "it was in the middle of its work");
        world.depth_becomes("and are in the queue again", |depth| depth.ready == waiting).await;
        // What the worker had begun ends with its connection, and not with the lock.
        holder.close().await.unwrap();
        assert_eq!(world.store.parked_count().await.unwrap(), 0);
    }
    let token = CancellationToken::new();
    let working = world.work(&token);
    world.head_reaches(900).await;
    world.depth_becomes("everything is acknowledged", |depth| depth.ready == 0).await;
    token.cancel();
    working.await.unwrap().unwrap();
    assert_eq!(world.store.head().await.unwrap(), Position(900));
    assert_eq!(world.queue.depth().await.unwrap().ready, 0);
    world.clean_up().await;
}

/// Pages before the foreign one are stored; it and all behind it stay in the queue, for a worker that can read it.
#[sqlx::test(migrator = "store::migrate::MIGRATOR")]
async fn a_page_of_another_version_or_network_stays_in_the_queue_and_the_worker_says_why(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let world = World::on(options).await;
    let later = Bytes::from_static(&[0x08, 9, 0x12, 1, b'?', 0xff]);
    let of_another = body::encode(page(vec![record("t", 7)]), "mainnet").unwrap();
    for (foreign, parts) in [
        (later, ["format version 9", "reads version 3"]),
        (of_another, ["the network \"mainnet\"", "queue.prefix"]),
    ] {
        let head = world.store.head().await.unwrap().0;
        let publisher = world.publisher();
        publisher.send_page(page(vec![record("before", head.cast_unsigned())])).await.unwrap();
        publisher.send(foreign.clone()).await.unwrap();
        publisher.send_page(page(vec![record("behind", head.cast_unsigned())])).await.unwrap();
        publisher.confirmed(3).await.unwrap();
        // However often it is started.
        for _ in 0..3 {
            let working = world.work(&CancellationToken::new());
            let stopped = tokio::time::timeout(Duration::from_secs(60), working).await;
            let error = stopped.expect("the worker stops").unwrap().unwrap_err().to_string();
            for part in parts {
                assert!(error.contains(part), "{error}");
            }
            assert!(error.ends_with("the page stays in the queue"), "{error}");
            world.depth_becomes("both are in the queue", |depth| depth.ready == 2).await;
            assert_eq!(world.store.head().await.unwrap(), Position(head + 1));
        }
        let depth = world.queue.depth().await.unwrap();
        assert_eq!((world.store.parked_count().await.unwrap(), depth.parked), (0, 0));
        testing::purge(&world.queue).await;
    }
    world.clean_up().await;
}

#[sqlx::test(migrator = "store::migrate::MIGRATOR")]
async fn a_database_of_another_network_takes_nothing(_: PgPoolOptions, options: PgConnectOptions) {
    let world = World::on(options).await;
    world.store.claim_network("mainnet").await.unwrap();
    let publisher = world.publisher();
    publisher.send_page(page(vec![record("t", 1)])).await.unwrap();
    publisher.confirmed(1).await.unwrap();
    let working = world.work(&CancellationToken::new());
    let stopped = tokio::time::timeout(Duration::from_secs(60), working).await;
    let error = stopped.expect("the worker stops").unwrap().unwrap_err().to_string();
    assert!(error.contains("mainnet") && error.contains("\"test\""), "{error}");
    assert_eq!(world.store.head().await.unwrap(), Position(0));
    assert_eq!(world.queue.depth().await.unwrap().ready, 1);
    world.clean_up().await;
}
