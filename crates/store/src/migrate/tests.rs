use std::time::Duration;

use sqlx::{PgPool, postgres::PgConnectOptions, postgres::PgPoolOptions};

use super::*;
use crate::testing::TestDatabase;

#[sqlx::test(migrations = false)]
async fn migrating_twice_changes_nothing_and_a_newer_database_is_refused(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    assert!(matches!(db.store.check_version().await, Err(Error::Older { found: 0, .. })));
    let first = db.store.migrate().await.unwrap();
    assert_eq!((first.from, first.to), (0, known()));
    assert_eq!(db.store.migrate().await.unwrap().from, known());
    db.store.check_version().await.unwrap();

    db.execute(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'future', true, '', 0)",
    )
    .await;
    assert!(matches!(db.store.migrate().await, Err(Error::Newer { found: 9999, .. })));
    assert!(matches!(db.store.check_version().await, Err(Error::Newer { .. })));
}

#[sqlx::test(migrations = false)]
async fn a_cancelled_migration_leaves_no_lock_behind(pool: PgPool) {
    let options = (*pool.connect_options()).clone();
    let db = TestDatabase::on(options).await;
    // Somebody holds what the first migration needs, so that it is cancelled while it has the migrations' lock.
    let mut blocker = pool.begin().await.unwrap();
    sqlx::raw_sql("create schema ground").execute(&mut *blocker).await.unwrap();
    let cancelled = tokio::time::timeout(Duration::from_millis(500), db.store.migrate()).await;
    assert!(cancelled.is_err(), "the first one waits for the blocker");
    blocker.rollback().await.unwrap();
    let second = tokio::time::timeout(Duration::from_secs(30), db.store.migrate()).await;
    assert_eq!(second.expect("nobody holds the lock").unwrap().to, known());
}
