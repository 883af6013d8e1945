use std::time::Duration;

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions, postgres::PgPoolOptions};

use super::*;
use crate::{error::Class, testing::TestDatabase};

#[sqlx::test(migrations = false)]
async fn a_transaction_that_a_cancelled_future_left_open_does_not_reach_the_next_borrower(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let store = db.store.limited(1).unwrap();
    let pid = async |connection: &mut PgConnection| -> i32 {
        sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await.unwrap()
    };
    let is_open = async |connection: &mut PgConnection| -> bool {
        let row =
            sqlx::raw_sql("select now() <> statement_timestamp()").fetch_one(connection).await;
        sqlx::Row::get(&row.unwrap(), 0)
    };
    let (mut pids, mut cancelled) = (std::collections::HashSet::new(), 0);
    for microseconds in (0..4_000).step_by(40) {
        let begun = tokio::time::timeout(Duration::from_micros(microseconds), store.begin()).await;
        cancelled += u32::from(begun.is_err());
        drop(begun);
        let mut connection = store.connection().await.unwrap();
        assert!(!is_open(&mut connection).await, "cancelled after {microseconds} µs");
        pids.insert(pid(&mut connection).await);
    }
    assert!(cancelled > 0, "no cancellation met a transaction that began");
    assert!(pids.len() < 50, "clean connections are kept: {} for 100 uses", pids.len());
    // What nobody told the driver about is found as well.
    let mut connection = store.connection().await.unwrap();
    let dirty = pid(&mut connection).await;
    sqlx::raw_sql("begin").execute(&mut *connection).await.unwrap();
    drop(connection);
    let mut connection = store.connection().await.unwrap();
    assert!(!is_open(&mut connection).await);
    assert_ne!(pid(&mut connection).await, dirty);
}

#[sqlx::test(migrations = false)]
async fn a_connection_that_became_read_only_is_not_used_again(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let store = db.store.limited(1).unwrap();
    let mut connection = store.connection().await.unwrap();
    // What a server does to its sessions when it becomes a standby.
    sqlx::raw_sql("set default_transaction_read_only = on")
        .execute(&mut *connection)
        .await
        .unwrap();
    let refused = sqlx::raw_sql("create table t ()").execute(&mut *connection).await.unwrap_err();
    assert_eq!(Error::from(refused).class(), Class::Retry);
    drop(connection);
    let mut connection = store.connection().await.unwrap();
    sqlx::raw_sql("create table t ()").execute(&mut *connection).await.unwrap();
}

#[sqlx::test(migrations = false)]
async fn a_database_that_cannot_hold_every_text_is_refused(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options.clone()).await;
    for encoding in ["LATIN1", "SQL_ASCII", "EUC_JP"] {
        let name = format!("x{}_{}", std::process::id(), encoding.to_lowercase());
        db.execute(&format!("drop database if exists {name}")).await;
        db.execute(&format!(
            "create database {name} encoding '{encoding}' template template0 lc_collate 'C' lc_ctype 'C'"
        ))
        .await;
        let url = db.url_of(&name);
        let refused = Store::connect(Options::new(url)).await;
        db.execute(&format!("drop database {name} with (force)")).await;
        let error = refused.unwrap_err();
        assert!(matches!(&error, Error::Encoding { encoding: found, .. } if found == encoding));
        assert!(error.to_string().contains("UTF8"));
    }
}

#[sqlx::test(migrations = false)]
async fn an_unreachable_server_is_ours_to_wait_for(_: PgPoolOptions, options: PgConnectOptions) {
    let _ = PgConnection::connect_with(&options).await.unwrap();
    let error = Store::connect(Options::new("postgres://nobody@127.0.0.1:1/x")).await.unwrap_err();
    assert_eq!(error.class(), Class::Retry);
    assert!(error.to_string().contains("127.0.0.1:1/x"), "{error}");
}
