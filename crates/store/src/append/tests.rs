use std::time::Duration;

use wire::Envelope;

use super::*;
use crate::{
    log::PageBounds,
    testing::{TestDatabase, envelope},
};

fn page(envelopes: Vec<Envelope>) -> Page {
    Page { source: "node".into(), cursor: None, envelopes }
}

async fn log(db: &TestDatabase) -> Vec<(i64, String, u64)> {
    let bounds = PageBounds { envelopes: 100_000, bytes: i64::MAX };
    let page = db.store.page(Position(0), Position(i64::MAX), bounds).await.unwrap();
    page.into_iter().map(|logged| (logged.position.0, logged.topic, logged.timestamp_ns)).collect()
}

#[tokio::test]
async fn what_is_new_is_appended_in_the_order_received_and_the_rest_vanishes() {
    let db = TestDatabase::migrated().await;
    let (a, b, c) = (
        envelope("/xmtp/0/m-b/proto", 9, b"x"),
        envelope("/xmtp/0/m-a/proto", 5, b"x"),
        envelope("t", 7, b""),
    );
    let first = db.store.append(&[page(vec![a.clone(), b.clone(), a.clone()])]).await.unwrap();
    assert_eq!(first, Appended { fresh: 2, duplicates: 1, parked: 0, head: Some(Position(2)) });
    let again = db.store.append(&[page(vec![b.clone(), a.clone()])]).await.unwrap();
    assert_eq!(again, Appended { fresh: 0, duplicates: 2, parked: 0, head: None });
    let mixed = db.store.append(&[page(vec![a, c]), page(vec![b])]).await.unwrap();
    assert_eq!((mixed.fresh, mixed.duplicates, mixed.head), (1, 2, Some(Position(3))));
    let expected = vec![
        (1, "/xmtp/0/m-b/proto".to_owned(), 9),
        (2, "/xmtp/0/m-a/proto".to_owned(), 5),
        (3, "t".to_owned(), 7),
    ];
    assert_eq!(log(&db).await, expected);
}

#[tokio::test]
async fn the_same_bytes_at_another_time_are_another_envelope() {
    let db = TestDatabase::migrated().await;
    let times = [0, 1, (1 << 63) - 1, 1 << 63, u64::MAX];
    let envelopes = times.map(|t| envelope("/xmtp/0/m-a/proto", t, b"x")).to_vec();
    assert_eq!(db.store.append(&[page(envelopes)]).await.unwrap().fresh, 5);
    assert_eq!(log(&db).await.iter().map(|row| row.2).collect::<Vec<_>>(), times);
}

#[tokio::test]
async fn what_cannot_be_stored_is_parked_with_its_bytes_and_stops_nobody() {
    let db = TestDatabase::migrated().await;
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
    let found = parked.iter().find(|p| p.envelope == bad).unwrap();
    assert!(found.reason.contains("UTF-8"), "{}", found.reason);
    assert_eq!(db.store.parked_get(found.id).await.unwrap().unwrap().envelope, bad);
    assert_eq!(db.store.parked_drop(&[found.id]).await.unwrap(), 1);
    assert_eq!(db.store.parked_count().await.unwrap(), 1);
}

#[tokio::test]
async fn a_cursor_moves_with_its_page_and_never_back() {
    let db = TestDatabase::migrated().await;
    let at = |cursor: u8, ts| Page {
        source: "node".into(),
        cursor: Some(Bytes::copy_from_slice(&[cursor])),
        envelopes: vec![envelope("t", ts, b"")],
    };
    db.store.append(&[at(7, 1), at(5, 2)]).await.unwrap();
    db.store.append(&[at(6, 3)]).await.unwrap();
    db.store.report_source("node", "message-api", true, None, None).await.unwrap();
    let source = db.store.source("node").await.unwrap().unwrap();
    assert_eq!(source.cursor.as_deref(), Some([7].as_slice()));
    assert_eq!((source.kind.as_str(), source.connected), ("message-api", true));
}

/// Invariant 1, staged: an appender that has taken its positions and not committed keeps every later one invisible.
#[tokio::test]
async fn no_row_becomes_visible_before_one_that_stands_in_front_of_it() {
    let db = TestDatabase::migrated().await;
    let pages = [page(vec![envelope("slow", 1, b"")])];
    let mut client = db.store.client().await.unwrap();
    let slow = client.transaction().await.unwrap();
    let (candidates, _) = admit(&pages);
    let fresh = claim(&slow, &candidates).await.unwrap();
    assert_eq!(write(&slow, &fresh).await.unwrap(), Position(1));

    let store = db.store.clone();
    let fast = tokio::spawn(async move {
        store.append(&[page(vec![envelope("fast", 2, b"")])]).await.unwrap()
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!fast.is_finished(), "the fast appender did not wait for the slow one");
    assert!(log(&db).await.is_empty(), "a tail that reads now would never see position 1");

    slow.commit().await.unwrap();
    assert_eq!(fast.await.unwrap().head, Some(Position(2)));
    assert_eq!(
        log(&db).await.iter().map(|row| row.1.as_str()).collect::<Vec<_>>(),
        ["slow", "fast"]
    );
}

/// Invariant 1, under load: a tail that pages while eight appenders write sees every row once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tail_beside_many_appenders_misses_nothing() {
    let db = TestDatabase::migrated().await;
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
    let client = db.store.client().await.unwrap();
    let deadlocks: i64 = client
        .query_one("select deadlocks from pg_stat_database where datname = current_database()", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(deadlocks, 0);
}

#[tokio::test]
async fn the_log_crosses_from_one_partition_into_the_next() {
    let db = TestDatabase::migrated().await;
    let client = db.store.client().await.unwrap();
    client.execute("update ground.head set position = 1999998", &[]).await.unwrap();
    assert_eq!(
        db.store.extend_partitions().await.unwrap(),
        2 * 2,
        "room for 2.5 million more: two partitions, two tables"
    );
    assert_eq!(db.store.extend_partitions().await.unwrap(), 0);
    let envelopes = (0..5).map(|t| envelope("t", t, b"")).collect();
    db.store.append(&[page(envelopes)]).await.unwrap();
    let rows = client
        .query(
            "select tableoid::regclass::text, count(*) from ground.envelopes group by 1 order by 1",
            &[],
        )
        .await
        .unwrap();
    let counts: Vec<(String, i64)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(
        counts,
        [("ground.envelopes_000000".to_owned(), 2), ("ground.envelopes_000001".to_owned(), 3)]
    );
}

#[tokio::test]
async fn a_page_of_the_log_is_bounded_by_bytes_and_never_empty() {
    let db = TestDatabase::migrated().await;
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
