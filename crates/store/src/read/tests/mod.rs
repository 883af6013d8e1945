//! Reads of captured traffic.

mod connections;
mod copies;
pub(super) mod explain;
mod paging;
mod parents;
mod single;
mod stale;
mod swap;
mod totals;
mod welcomes;

use std::sync::Arc;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use wire::{Envelope as Published, TopicKind, Verifier};

use super::*;
use crate::{
    append::{self, Record},
    log::topic_key,
    projector::{Config, Projector},
    testing::{TestDatabase, envelope},
};

const ALL: u32 = 1_000_000;

fn capture() -> Vec<Published> {
    let file =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../devnet/captures/legacy-a/envelopes.ndjson.gz");
    let mut text = String::new();
    let file = std::fs::File::open(file).unwrap();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).unwrap();
    text.lines().map(|line| wire::json::from_line(line).unwrap()).collect()
}

/// The capture, and what it lacks: conversations without a readable message, equal and extreme times.
pub(super) async fn indexed(options: PgConnectOptions) -> TestDatabase {
    let db = TestDatabase::on(options).await;
    let mut envelopes = capture();
    for n in 0..40_u64 {
        let topic = format!("/xmtp/0/m-{}/proto", "x".repeat(1 + usize::try_from(n).unwrap()));
        envelopes.push(envelope(
            &topic,
            if n % 2 == 0 { u64::MAX } else { n % 3 },
            b"not readable",
        ));
        envelopes.push(envelope("/elsewhere/\u{10FFFF}", n, b"nor this"));
    }
    for part in envelopes.chunks(500) {
        append(&db, part.to_vec()).await;
    }
    project(&db).await;
    db
}

async fn append(db: &TestDatabase, envelopes: Vec<Published>) {
    let records = envelopes.into_iter().map(Record::from).collect();
    let page = append::Page { source: "node".into(), progress: Vec::new(), records };
    db.store.append(&[page]).await.unwrap();
}

async fn project(db: &TestDatabase) {
    Projector::new(db.store.clone(), Arc::new(Verifier::default()), Config::default())
        .catch_up()
        .await
        .unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn look_ups_by_key_give_what_lists_give(_: PgPoolOptions, options: PgConnectOptions) {
    let db = indexed(options).await;
    let snapshot = db.store.snapshot().await.unwrap();
    let first = PageRequest::first(EnvelopeOrder::Indexed, false, ALL);
    let envelopes = snapshot.envelopes(&EnvelopeFilter::default(), &first).await.unwrap().rows;

    let positions: Vec<_> = envelopes.iter().map(|e| e.position).collect();
    let mut found = snapshot.envelopes_by_position(&positions).await.unwrap();
    found.sort_by_key(|e| e.position);
    assert!(found == envelopes);

    let some = &envelopes[..300];
    let digests: Vec<_> = some.iter().map(|e| e.digest).collect();
    let found = snapshot.envelopes_by_digest(&digests).await.unwrap();
    assert!(found.iter().eq(envelopes.iter().filter(|e| digests.contains(&e.digest))));

    let private = envelopes.iter().filter(|e| e.topic_kind == TopicKind::PrivateStore).count();
    assert!(private > 10);
    let messages = snapshot.messages_at(&positions).await.unwrap();
    assert_eq!(messages.len(), envelopes.len() - private);
    for (position, message) in &messages {
        let envelope = &envelopes[usize::try_from(position.0).unwrap() - 1];
        assert_eq!(i32::try_from(message.len()).unwrap(), envelope.size);
        assert_eq!(crate::log::payload_key(message), envelope.payload_key);
        assert_ne!(envelope.topic_kind, TopicKind::PrivateStore);
    }

    let name = "/xmtp/0/m-x/proto";
    let topics =
        snapshot.topics_by_key(&[topic_key(name.as_bytes()), topic_key(b"nowhere")]).await.unwrap();
    assert_eq!(topics.iter().map(|t| t.name.as_str()).collect::<Vec<_>>(), [name]);
    let unread = envelopes.iter().find(|e| e.topic_key == topics[0].key).unwrap().position;
    let reasons = snapshot.undecodables_at(&[unread, positions[0]]).await.unwrap();
    assert_eq!(reasons.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [unread]);
    snapshot.close().await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_snapshot_stays_at_its_moment_and_tells_how_far_it_is_behind(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let append = async |n: u64| append(&db, vec![envelope("/xmtp/0/m-x/proto", n, b"x")]).await;
    let all = PageRequest::first(EnvelopeOrder::Indexed, false, ALL);
    let filter = EnvelopeFilter::default();
    append(1).await;
    // Nothing is visible before it is projected.
    let before = db.store.snapshot().await.unwrap();
    assert_eq!((before.head().0, before.lag()), (0, 1));
    assert!(before.envelopes(&filter, &all).await.unwrap().rows.is_empty());
    before.close().await.unwrap();

    project(&db).await;
    let held = db.store.snapshot().await.unwrap();
    append(2).await;
    project(&db).await;
    assert_eq!((held.head().0, held.lag()), (1, 0));
    assert_eq!(held.envelopes(&filter, &all).await.unwrap().rows.len(), 1);
    assert_eq!(held.count_envelopes(&filter).await.unwrap(), 1);
    held.close().await.unwrap();

    append(3).await;
    let after = db.store.snapshot().await.unwrap();
    assert_eq!((after.head().0, after.lag()), (2, 1));
    assert_eq!(after.envelopes(&filter, &all).await.unwrap().rows.len(), 2);
    let status = after.status().await.unwrap();
    assert_eq!((status.head.0, status.log_head.0, status.parked), (2, 3, 0));
    assert!(status.projections.len() >= 8);
    after.close().await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_snapshot_that_is_dropped_unclosed_leaves_no_transaction_behind(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let store = db.store.limited(1).unwrap();
    let backend = async |snapshot: &Snapshot| -> i32 {
        let pids = snapshot.find("select pg_backend_pid()", Vec::new(), |columns| columns.get());
        pids.await.unwrap().pop().unwrap()
    };
    let snapshot = store.snapshot().await.unwrap();
    let closed = backend(&snapshot).await;
    snapshot.close().await.unwrap();
    let snapshot = store.snapshot().await.unwrap();
    assert_eq!(backend(&snapshot).await, closed, "a closed one's connection is used again");
    drop(snapshot);
    let snapshot = store.snapshot().await.unwrap();
    assert_ne!(backend(&snapshot).await, closed, "a dropped one's connection is not");
    let writes =
        snapshot.find("create table t ()", Vec::new(), |columns| columns.get::<i32>()).await;
    assert!(writes.unwrap_err().to_string().contains("read-only"));
    drop(snapshot);
}
