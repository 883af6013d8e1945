use std::time::Duration;

use bytes::Bytes;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use wire::Envelope;

use super::*;
use crate::{
    log::PageBounds,
    testing::{TestDatabase, envelope},
};

fn page(envelopes: Vec<Envelope>) -> Page {
    let records = envelopes.into_iter().map(Record::from).collect();
    Page { source: "node".into(), progress: Vec::new(), records }
}

fn text(logged: &crate::log::Logged) -> String {
    wire::topic::to_text(&logged.topic).into_owned()
}

async fn log(db: &TestDatabase) -> Vec<(i64, String, u64)> {
    let bounds = PageBounds { envelopes: 100_000, bytes: i64::MAX };
    let page = db.store.page(Position(0), Position(i64::MAX), bounds).await.unwrap();
    page.into_iter().map(|logged| (logged.position.0, text(&logged), logged.timestamp_ns)).collect()
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn what_is_new_is_appended_in_the_order_received_and_the_rest_vanishes(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let (a, b, c) = (
        envelope("/xmtp/0/m-b/proto", 9, b"x"),
        envelope("/xmtp/0/m-a/proto", 5, b"x"),
        envelope("t", 7, b""),
    );
    let first = db.store.append(&[page(vec![a.clone(), b.clone(), a.clone()])]).await.unwrap();
    let two = Appended { fresh: 2, duplicates: 1, head: Some(Position(2)), ..Appended::default() };
    assert_eq!(first, two);
    let again = db.store.append(&[page(vec![b.clone(), a.clone()])]).await.unwrap();
    assert_eq!(again, Appended { duplicates: 2, ..Appended::default() });
    let mixed = db.store.append(&[page(vec![a, c]), page(vec![b])]).await.unwrap();
    assert_eq!((mixed.fresh, mixed.duplicates, mixed.head), (1, 2, Some(Position(3))));
    let expected = vec![
        (1, "/xmtp/0/m-b/proto".to_owned(), 9),
        (2, "/xmtp/0/m-a/proto".to_owned(), 5),
        (3, "t".to_owned(), 7),
    ];
    assert_eq!(log(&db).await, expected);
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn the_same_bytes_at_another_time_are_another_envelope(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let times = [0, 1, (1 << 63) - 1, 1 << 63, u64::MAX];
    let envelopes = times.map(|t| envelope("/xmtp/0/m-a/proto", t, b"x")).to_vec();
    assert_eq!(db.store.append(&[page(envelopes)]).await.unwrap().fresh, 5);
    assert_eq!(log(&db).await.iter().map(|row| row.2).collect::<Vec<_>>(), times);
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn what_cannot_be_stored_is_parked_with_its_bytes_and_stops_nobody(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let mut bad = envelope("", 1, b"bytes");
    bad.topic = Bytes::from_static(b"/xmtp/0/m-\xff/proto");
    let nul = envelope("/xmtp/0/m-\0/proto", 2, b"nul");
    let good = envelope("/xmtp/0/m-a/proto", 3, b"x");
    for _ in 0..2 {
        let done =
            db.store.append(&[page(vec![bad.clone(), good.clone(), nul.clone()])]).await.unwrap();
        assert_eq!(done.parked, 2);
    }
    assert_eq!(log(&db).await.len(), 1);
    let parked = db.store.parked_list(0, 10).await.unwrap();
    assert_eq!(parked.len(), 2, "parking the same again changes nothing");
    let found = parked.iter().find(|p| p.record.envelope == bad).unwrap();
    assert!(found.reason.contains("UTF-8"), "{}", found.reason);
    assert_eq!(db.store.parked_get(found.id).await.unwrap().unwrap().record.envelope, bad);
    assert_eq!(db.store.parked_drop(&[found.id]).await.unwrap(), 1);
    assert_eq!(db.store.parked_count().await.unwrap(), 1);
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn progress_moves_with_its_page_shard_by_shard_and_never_back(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let at = |shard: &str, upto, ts| Page {
        progress: vec![Progress { shard: shard.into(), upto }],
        ..page(vec![envelope("t", ts, b"")])
    };
    db.store.append(&[at("a", 7, 1), at("a", 5, 2), at("b", -3, 3)]).await.unwrap();
    db.store.append(&[at("a", 6, 4), at("b", -2, 5)]).await.unwrap();
    db.store.report_source("node", "message-api", true, None, None).await.unwrap();
    let source = db.store.source("node").await.unwrap().unwrap();
    assert_eq!((source.upto("a"), source.upto("b"), source.upto("c")), (7, -2, 0));
    assert_eq!((source.kind.as_str(), source.connected), ("message-api", true));
}

fn numbered(sequence: u64, topic: &'static [u8], message: &'static [u8]) -> Record {
    let envelope = Envelope {
        topic: Bytes::from_static(topic),
        timestamp_ns: sequence,
        message: Bytes::from_static(message),
    };
    Record { envelope, origin: Some(Origin { space: 4_000_000_000, sequence }) }
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn numbered_envelopes_are_known_by_their_numbers_and_other_bytes_are_kept_as_evidence(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let of = |records: Vec<Record>| Page { records, ..page(Vec::new()) };
    let first = numbered(u64::MAX, b"\x00\xff\x00", b"one");
    let liar = numbered(u64::MAX, b"\x00\xff\x00", b"two");
    let other = numbered(7, b"\x01", b"one");
    let done =
        db.store.append(&[of(vec![first.clone(), liar.clone(), first.clone()])]).await.unwrap();
    assert_eq!((done.fresh, done.duplicates, done.conflicts, done.parked), (1, 1, 1, 0));
    for _ in 0..2 {
        let done = db.store.append(&[of(vec![liar.clone(), first.clone()])]).await.unwrap();
        assert_eq!((done.fresh, done.duplicates, done.conflicts), (0, 1, 1));
    }
    // The same bytes at another number, and by a source without numbers, are other envelopes.
    let plain = Record { origin: None, ..numbered(7, b"/text", b"one") };
    let done = db.store.append(&[of(vec![other, plain])]).await.unwrap();
    assert_eq!((done.fresh, done.conflicts), (2, 0));
    assert_eq!(db.value::<i64>("select rows from ground.counts where name = 'conflicts'").await, 1);
    assert_eq!(db.value::<Vec<u8>>("select message from ground.conflicts").await, b"two");
    assert_eq!(
        db.value::<i64>("select count(*) from ground.sequences s join ground.envelopes e using (position, space, sequence)").await,
        2
    );
    assert_eq!(log(&db).await[0].1, "group_messages_v1/ff00");
}

/// Invariant 1, staged: an appender that has taken its positions and not committed keeps every later one invisible.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn no_row_becomes_visible_before_one_that_stands_in_front_of_it(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let pages = [page(vec![envelope("slow", 1, b"")])];
    let sources = db.store.source_ids(["node"].into_iter()).await.unwrap();
    let mut slow = db.store.begin().await.unwrap();
    let (appended, _) = append_in(&mut slow, &pages, &sources).await.unwrap();
    assert_eq!(appended.head, Some(Position(1)));

    let store = db.store.clone();
    let fast = tokio::spawn(async move {
        store.append(&[page(vec![envelope("fast", 2, b"")])]).await.unwrap()
    });
    let waits = "select exists (select from pg_stat_activity
                                 where datname = current_database() and wait_event_type = 'Lock')";
    while !db.value::<bool>(waits).await {
        assert!(!fast.is_finished(), "the fast appender did not wait for the slow one");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(log(&db).await.is_empty(), "a tail that reads now would never see position 1");

    slow.commit().await.unwrap();
    assert_eq!(fast.await.unwrap().head, Some(Position(2)));
    assert_eq!(
        log(&db).await.iter().map(|row| row.1.as_str()).collect::<Vec<_>>(),
        ["slow", "fast"]
    );
}

/// Invariant 1, under load: a tail that pages while eight appenders write sees every row once, in order.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_tail_beside_many_appenders_misses_nothing(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let (writers, pages, size) = (8_u64, 12_u64, 40_u64);
    let tail = tokio::spawn({
        let store = db.store.clone();
        async move {
            let (mut at, mut seen) = (Position(0), 0_u64);
            while seen < writers * pages * size {
                let bounds = PageBounds { envelopes: 33, bytes: 1 << 20 };
                for logged in store.page(at, Position(i64::MAX), bounds).await.unwrap() {
                    assert_eq!(
                        logged.position.0,
                        at.0 + 1,
                        "a gap behind which a row may still appear"
                    );
                    at = logged.position;
                    seen += 1;
                }
            }
            seen
        }
    });
    let appenders: Vec<_> = (0..writers)
        .map(|writer| {
            let store = db.store.clone();
            tokio::spawn(async move {
                for n in 0..pages {
                    // Half of what each writes is written by its neighbour as well, in another order.
                    let own = (0..size).map(|i| envelope("own", writer << 32 | n << 16 | i, b""));
                    let shared = (0..size)
                        .rev()
                        .map(|i| envelope("own", (writer ^ 1) << 32 | n << 16 | i, b""));
                    store.append(&[page(own.chain(shared).collect())]).await.unwrap();
                }
            })
        })
        .collect();
    for appender in appenders {
        appender.await.unwrap();
    }
    let seen = tokio::time::timeout(Duration::from_secs(60), tail)
        .await
        .expect("the tail missed rows")
        .unwrap();
    assert_eq!(seen, writers * pages * size);
    let deadlocks: i64 =
        db.value("select deadlocks from pg_stat_database where datname = current_database()").await;
    assert_eq!(deadlocks, 0);
}

const BY_PARTITION: &str = "select string_agg(name || ' ' || rows, ', ' order by name)
    from (select tableoid::regclass::text as name, count(*) as rows from ground.envelopes group by 1) p";

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn the_log_crosses_from_one_partition_into_the_next(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    db.execute("update ground.head set position = 1999998").await;
    assert_eq!(db.store.extend_partitions().await.unwrap(), 2, "room for 2.5 million more");
    assert_eq!(db.store.extend_partitions().await.unwrap(), 0);
    let envelopes = (0..5).map(|t| envelope("t", t, b"")).collect();
    db.store.append(&[page(envelopes)]).await.unwrap();
    assert_eq!(
        db.value::<String>(BY_PARTITION).await,
        "ground.envelopes_000000000001 2, ground.envelopes_000002000001 3"
    );
}

/// A log that has outrun its partitions is trouble of ours: nothing is parked, and the append makes room.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_missing_partition_is_made_and_parks_nothing(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    db.execute("update ground.head set position = 9999999").await;
    let envelopes = (0..5).map(|t| envelope("t", t, b"")).collect();
    let appended = db.store.append(&[page(envelopes)]).await.unwrap();
    assert_eq!((appended.fresh, appended.parked), (5, 0));
    assert_eq!(
        db.value::<String>(BY_PARTITION).await,
        "ground.envelopes_000008000001 1, ground.envelopes_000010000001 4"
    );
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn full_partitions_are_vacuumed_and_frozen_once(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    db.execute("update ground.head set position = 1999995").await;
    let envelopes = (0..10).map(|t| envelope("t", t, b"")).collect();
    db.store.append(&[page(envelopes)]).await.unwrap();
    let age = "select age(relfrozenxid)::bigint from pg_class where oid = 'ground.envelopes_000000000001'::regclass";
    db.execute("select pg_current_xact_id()").await;
    let before: i64 = db.value(age).await;
    let maintained = db.store.maintain().await.unwrap();
    assert_eq!((maintained.frozen, maintained.dropped), (1, 0));
    assert!(db.value::<i64>(age).await < before);
    assert_eq!(db.store.maintain().await.unwrap().frozen, 0);
    // Long before that, inserts alone have started a vacuum.
    let options: String = db
        .value("select array_to_string(reloptions, ' ') from pg_class where oid = 'ground.envelopes_000000000001'::regclass")
        .await;
    assert!(options.contains("autovacuum_vacuum_insert_threshold=1000000"), "{options}");
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_page_of_the_log_is_bounded_by_bytes_and_never_empty(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let sizes: [&'static [u8]; 5] = [&[1; 10], &[2; 10], &[3; 5_000], &[4; 10], &[5; 10]];
    let envelopes =
        sizes.into_iter().zip(1..).map(|(message, ns)| envelope("t", ns, message)).collect();
    db.store.append(&[page(envelopes)]).await.unwrap();
    let (mut at, mut pages) = (Position(0), Vec::new());
    loop {
        let bounds = PageBounds { envelopes: 4, bytes: 25 };
        let page = db.store.page(at, Position(i64::MAX), bounds).await.unwrap();
        let Some(last) = page.last() else { break };
        at = last.position;
        pages.push(page.len());
    }
    assert_eq!(pages, [2, 1, 2], "the large one stands alone, and stops nobody");
}

/// Numbers of sources are few, and are not used up by reports.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn reports_of_a_source_take_no_numbers(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    for _ in 0..20 {
        db.store.report_source("a", "message-api", true, None, None).await.unwrap();
        db.store.append(&[page(vec![envelope("t", 1, b"")])]).await.unwrap();
    }
    db.store.report_source("b", "message-api", false, None, Some("why")).await.unwrap();
    let sources = db.store.sources().await.unwrap();
    assert!(sources.iter().all(|source| source.id <= 3), "{sources:?}");
}
