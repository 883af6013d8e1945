use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::*;
use crate::{append::Progress, testing::TestDatabase};

fn gap(shard: &str, state: GapState) -> Gap {
    Gap { shard: shard.into(), state, times: None, sequences: None, reason: "because".into() }
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_gap_is_listed_until_it_is_closed(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let stream = Gap { times: Some((5, None)), ..gap("stream", GapState::Open) };
    let space = Gap { sequences: Some((7, Some(u64::MAX))), ..gap("100", GapState::Unrepairable) };
    db.store.report_gaps("a", &[stream.clone(), space.clone()]).await.unwrap();
    db.store.report_gaps("b", &[gap("stream", GapState::Open)]).await.unwrap();
    let repairing = Gap { times: Some((5, Some(u64::MAX))), state: GapState::Repairing, ..stream };
    db.store.report_gaps("a", std::slice::from_ref(&repairing)).await.unwrap();
    let gaps = async |name| db.store.source(name).await.unwrap().unwrap().gaps;
    let space = Gap { sequences: Some((7, Some(i64::MAX as u64))), ..space };
    let mut found = gaps("a").await;
    found.sort_by(|one, other| other.shard.cmp(&one.shard));
    assert_eq!(found, [repairing, space.clone()]);
    db.store.close_gaps("a", &["stream".into(), "none".into()]).await.unwrap();
    assert_eq!(gaps("a").await, [space]);
    assert_eq!(gaps("b").await.len(), 1);
    // Readers see the same.
    let snapshot = db.store.snapshot().await.unwrap();
    let seen = snapshot.status().await.unwrap().sources;
    let of = |name| &seen.iter().find(|source| source.name == name).unwrap().gaps;
    assert_eq!((of("a"), of("b")), (&gaps("a").await, &gaps("b").await));
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn progress_is_rewound_and_a_source_is_forgotten(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let progress = |shard: &str, upto| Progress { shard: shard.into(), upto };
    let page = crate::Page {
        source: "node".into(),
        progress: vec![progress("one", 10), progress("two", 20)],
        records: vec![crate::testing::envelope("t", 1, b"m").into()],
    };
    db.store.append(&[page]).await.unwrap();
    let to = [progress("one", 3), progress("two", 30), progress("three", 1)];
    assert_eq!(db.store.rewind("node", &to).await.unwrap(), 1);
    let source = db.store.source("node").await.unwrap().unwrap();
    assert_eq!((source.upto("one"), source.upto("two"), source.upto("three")), (3, 20, 0));
    db.store.report_gaps("node", &[gap("one", GapState::Open)]).await.unwrap();
    assert!(db.store.forget_source("node").await.unwrap());
    assert!(!db.store.forget_source("node").await.unwrap());
    assert!(db.store.source("node").await.unwrap().is_none());
    // A puller that reads it again begins at the beginning, under the same number.
    db.store.report_source("node", "message-api", true, None, None).await.unwrap();
    let again = db.store.source("node").await.unwrap().unwrap();
    assert!(again.id == source.id && again.progress.is_empty() && again.gaps.is_empty());
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_puller_that_is_silent_counts_as_gone(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    db.store.report_source("node", "message-api", true, None, None).await.unwrap();
    assert!(db.store.source("node").await.unwrap().unwrap().connected);
    db.execute("update ground.sources set updated_at = now() - interval '31 seconds'").await;
    assert!(!db.store.source("node").await.unwrap().unwrap().connected);
}
