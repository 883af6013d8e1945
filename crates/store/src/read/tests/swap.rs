//! Snapshots beside the swap of a rebuilt table.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{super::*, ALL, indexed};

/// What a rebuild does when its table has caught up, with a table that lacks a row, so that a reader can tell both apart.
const SWAP: &str = "
    begin;
    lock table derived.served in access exclusive mode;
    create table rebuild.invites (like derived.invites including all);
    insert into rebuild.invites select * from derived.invites offset 1;
    drop table derived.invites;
    alter table rebuild.invites set schema derived;
    commit";

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_swap_waits_for_open_snapshots_and_later_ones_see_the_new_table(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let all = PageRequest::first(TimeOrder, true, ALL);
    let rows =
        async |at: &Snapshot| at.invites(&Default::default(), &all).await.unwrap().rows.len();

    let open = db.store.snapshot().await.unwrap();
    let store = db.store.clone();
    let swapping = tokio::spawn(async move {
        let mut connection = store.connection().await.unwrap();
        sqlx::raw_sql(SWAP).execute(&mut *connection).await.unwrap();
    });
    let waits = "select exists (select from pg_locks
                  where relation = 'derived.served'::regclass and mode = 'AccessExclusiveLock' and not granted)";
    while !db.value::<bool>(waits).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Readers that come now wait for the swap: one of each kind.
    let store = db.store.clone();
    let later = tokio::spawn(async move {
        let single = store.single_statement().await.unwrap();
        let (filter, all) = (Default::default(), PageRequest::first(TimeOrder, true, ALL));
        let rows = single.invites(&filter, &all).await.unwrap().rows.len();
        single.close().await.unwrap();
        let at = store.snapshot().await.unwrap();
        at.close().await.unwrap();
        rows
    });
    let waiting = "select count(*) > 1 from pg_locks where relation = 'derived.served'::regclass and not granted";
    while !db.value::<bool>(waiting).await {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let before = rows(&open).await;
    assert!(before > 50);
    assert!(!swapping.is_finished() && !later.is_finished());
    assert_eq!(rows(&open).await, before);
    open.close().await.unwrap();
    swapping.await.unwrap();
    assert_eq!(later.await.unwrap(), before - 1);
    let at = db.store.snapshot().await.unwrap();
    assert_eq!(rows(&at).await, before - 1);
    at.close().await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_snapshot_that_is_dropped_does_not_hold_up_a_swap(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let open = db.store.snapshot().await.unwrap();
    drop(open);
    tokio::time::timeout(Duration::from_secs(10), db.execute(SWAP)).await.unwrap();
}
