//! Which connections are borrowed, and how statements end that nobody waits for any more.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{
    database::{Options, Store},
    error::Class,
    read::Snapshot,
    testing::TestDatabase,
};

async fn backend(snapshot: &Snapshot) -> i32 {
    let pids = snapshot.find("select pg_backend_pid()", Vec::new(), |columns| columns.get());
    pids.await.unwrap().pop().unwrap()
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn near_connections_are_borrowed_first_and_the_others_when_they_are_busy(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let common = Store::open(Options { max_connections: 1, ..Options::new(db.url()) }).unwrap();
    let near = common.near(1).unwrap();
    let (first, second) = (near.snapshot().await.unwrap(), near.snapshot().await.unwrap());
    let (own, shared) = (backend(&first).await, backend(&second).await);
    assert_ne!(own, shared);
    second.close().await.unwrap();
    let again = common.snapshot().await.unwrap();
    assert_eq!(backend(&again).await, shared, "what was borrowed is everybody's");
    // Both are busy.
    assert!(tokio::time::timeout(Duration::from_millis(200), near.snapshot()).await.is_err());
    first.close().await.unwrap();
    let own_again = near.snapshot().await.unwrap();
    assert_eq!(backend(&own_again).await, own);
    own_again.close().await.unwrap();
    again.close().await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_connection_that_breaks_while_it_waits_fails_once(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let store = db.store.limited(1).unwrap().near(1).unwrap();
    let at = store.single_statement().await.unwrap();
    let pid = backend(&at).await;
    at.close().await.unwrap();
    db.value::<bool>(&format!("select pg_terminate_backend({pid}, 5000)")).await;
    let at = store.single_statement().await.unwrap();
    let failed = at.find("select 1", Vec::new(), |columns| columns.get::<i32>()).await.unwrap_err();
    assert_eq!(failed.class(), Class::Retry, "{failed}");
    at.close().await.unwrap();
    for _ in 0..3 {
        let at = store.snapshot().await.unwrap();
        assert_ne!(backend(&at).await, pid);
        at.close().await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(5), store.close()).await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_statement_that_nobody_waits_for_is_stopped(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let options = Options { max_connections: 2, readers: true, ..Options::new(db.url()) };
    let store = Store::open(options).unwrap();
    let sleeping = async || -> i64 {
        let sql = "select count(*) from pg_stat_activity
                    where datname = current_database() and state = 'active' and query like '%pg_sleep(61)%'
                      and pid <> pg_backend_pid()";
        db.value(sql).await
    };
    // Many more than there are connections: each turn has to wait until an earlier statement has ended.
    for turn in 0..6 {
        let snapshot = match turn % 2 {
            0 => store.single_statement().await.unwrap(),
            _ => store.snapshot().await.unwrap(),
        };
        let asked = snapshot
            .find("select pg_sleep(61)::text", Vec::new(), |columns| columns.get::<String>());
        assert!(tokio::time::timeout(Duration::from_millis(300), asked).await.is_err());
        assert!(sleeping().await > 0);
        drop(snapshot);
        assert!(sleeping().await <= 2, "more run than there are connections");
    }
    for _ in 0..50 {
        if sleeping().await == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("a statement runs on that nobody waits for");
}
