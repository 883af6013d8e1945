//! Readers try everything that they must not be able to do.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::{Executor as _, postgres::PgConnectOptions, postgres::PgPoolOptions};

use super::*;
use crate::{
    append::Page,
    database::Options,
    keys::{NewKey, Scope},
    testing::{TestDatabase, envelope},
};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A name that no other role of the server has.
fn name_of(kind: &str) -> String {
    format!("{kind}_{}_{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed))
}

/// A login of the readers' role; [`drop_login`] removes it.
async fn login(db: &TestDatabase) -> (Store, String) {
    let name = name_of("reader");
    db.store.reader_login(&name, "first").await.unwrap();
    db.store.reader_login(&name, "sec'ret").await.unwrap();
    let url = db.url_as(&name, "sec'ret");
    (Store::connect(Options::new(url)).await.unwrap(), name)
}

async fn drop_login(db: &TestDatabase, reader: Store, name: &str) {
    reader.close().await;
    db.execute(&format!("drop role {name}")).await;
}

/// A database as `migrate` leaves it; sqlx's own test set-up applies the migrations alone.
async fn migrated(options: PgConnectOptions) -> TestDatabase {
    let db = TestDatabase::on(options).await;
    assert_eq!(db.store.migrate().await.unwrap().readers, Readers::Granted);
    db
}

#[sqlx::test(migrations = false)]
async fn a_reader_can_do_nothing_but_read_what_is_served(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = migrated(options).await;
    let new = NewKey {
        name: "app".into(),
        scopes: vec![Scope::Read],
        per_minute: None,
        expires_at: None,
    };
    let (key, _) = db.store.create_key(&new).await.unwrap();
    let (reader, name) = login(&db).await;
    let rights = reader.rights().await.unwrap();
    let none = Rights { role: name.clone(), resettable: false, excess: Vec::new() };
    assert_eq!(rights, none);

    let refused = [
        // Writing.
        "insert into derived.accounts (address, verified_bundles, first_seen_ns, last_seen_ns) values ('\\x00', 1, 0, 0)",
        "update derived.totals set rows = 0",
        "delete from derived.watermarks",
        "truncate derived.invites",
        "update ground.head set position = 0",
        "select * from ground.head for update",
        "delete from ground.sources",
        "insert into access.keys (id, name, hash, scopes) values ('a', 'a', sha256(''), '{admin}')",
        "update access.live_keys set scopes = '{admin}'",
        "delete from ground.messages",
        "delete from ground.tombstones",
        "do $$ begin lock table derived.topic_names; end $$",
        "do $$ begin lock table derived.served in access exclusive mode; end $$",
        "select ground.extend(1000, 100000000)",
        "copy derived.totals from program 'true'",
        "copy (select 1) to '/tmp/x'",
        "select lo_create(0)",
        "select lo_from_bytea(0, '\\x00')",
        "select pg_read_file('/etc/passwd')",
        // Creating objects.
        "create table t (a int)",
        "create table derived.t (a int)",
        "create temporary table t (a int)",
        "create schema s",
        "create function f() returns int language sql as 'select 1'",
        "create function pg_temp.f() returns int language sql as 'select 1'",
        "create extension pg_trgm",
        "create role r",
        "do $$ begin create table t (a int); end $$",
        // Becoming somebody else.
        "set role postgres",
        "set session authorization postgres",
        "alter role current_user superuser",
        "grant postgres to current_user",
        "alter table derived.totals owner to current_user",
        // Reading what is not served.
        "select message from ground.envelopes",
        "select * from ground.envelopes",
        "select * from ground.envelopes_000000000001",
        "select * from ground.identities",
        "select * from ground.sequences",
        "select message from ground.conflicts",
        "select message from ground.parked",
        "select count(*) from ground.parked",
        "select * from ground.partitions",
        "select * from ground.crawl_topics",
        "select * from rebuild.totals",
        "select * from access.keys",
        "select rolpassword from pg_authid",
    ];
    let mut connection = reader.connection().await.unwrap();
    let mut wrong = Vec::new();
    for statement in refused {
        let outcome = connection.execute(statement).await;
        if !outcome.as_ref().is_err_and(is_forbidden) {
            wrong.push(format!("{statement}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A session can switch its settings off, so nothing relies on them.
    connection.execute("set default_transaction_read_only = off").await.unwrap();
    assert!(connection.execute("delete from derived.totals").await.is_err());
    // Readers keep their snapshot from being swapped away by locking this table in the weakest mode.
    connection
        .execute("begin; lock table derived.served in access share mode; rollback")
        .await
        .unwrap();
    for granted in [
        "select position, erasures from ground.head",
        "select tag from ground.database",
        "select upto from ground.progress",
        "select rows from ground.counts",
        "select reason from ground.tombstones",
        "select position, timestamp_ns, indexed_at, payload_key, space, sequence, source, topic, digest from ground.envelopes",
    ] {
        connection.execute(granted).await.unwrap();
    }
    drop(connection);

    assert_eq!(reader.live_keys().await.unwrap().len(), 1);
    reader.touch_keys(std::slice::from_ref(&key.id)).await.unwrap();
    assert!(db.store.keys(false).await.unwrap()[0].last_used_at.is_some());
    assert_eq!(reader.parked_count().await.unwrap(), 0);
    reader.check_version().await.unwrap();
    let snapshot = reader.snapshot().await.unwrap();
    snapshot.status().await.unwrap();
    snapshot.close().await.unwrap();
    drop_login(&db, reader, &name).await;
}

#[sqlx::test(migrations = false)]
async fn readers_cannot_read_messages_of_private_stores(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = migrated(options).await;
    let private = format!("{}0xabc/key_bundle/proto", wire::topic::PRIVATE_STORES);
    let records = vec![
        envelope("/xmtp/0/m-1/proto", 1, b"open").into(),
        envelope(&private, 2, b"12345").into(),
    ];
    let page = Page { source: "node".into(), progress: Vec::new(), records };
    db.store.append(&[page]).await.unwrap();
    let (reader, name) = login(&db).await;
    let mut connection = reader.connection().await.unwrap();
    let seen: Vec<(i64, Vec<u8>)> = sqlx::query_as("select position, message from ground.messages")
        .fetch_all(&mut *connection)
        .await
        .unwrap();
    assert_eq!(seen, [(1, b"open".to_vec())]);
    // A condition that fails on a value and reports it is not evaluated for rows that are hidden.
    let error =
        sqlx::query("select 1 from ground.messages where encode(message, 'escape')::int > 0")
            .fetch_all(&mut *connection)
            .await
            .unwrap_err()
            .to_string();
    assert!(error.contains("open") && !error.contains("12345"), "{error}");
    // One row of a large log is found by its position.
    let plan: Vec<String> = sqlx::query_scalar(
        "explain select message from ground.messages where position = any('{1,2}')",
    )
    .fetch_all(&mut *connection)
    .await
    .unwrap();
    assert!(plan.iter().any(|line| line.contains("Index Cond: (\"position\" = ANY")), "{plan:#?}");
    drop(connection);
    drop_login(&db, reader, &name).await;
}

#[sqlx::test(migrations = false)]
async fn rights_are_reported_as_they_are(_: PgPoolOptions, options: PgConnectOptions) {
    let db = migrated(options).await;
    let owner = db.store.rights().await.unwrap();
    assert!(!owner.resettable && owner.excess.len() >= 4, "{owner:?}");
    assert!(db.store.can_become_reader().await.unwrap());
    let role = Some(READER.to_owned());
    let store = Store::connect(Options { role, ..Options::new(db.url()) }).await.unwrap();
    let taken_on = Rights { role: READER.into(), resettable: true, excess: Vec::new() };
    assert_eq!(store.rights().await.unwrap(), taken_on);
    store.close().await;
}

#[sqlx::test(migrations = false)]
async fn a_user_who_may_not_create_roles_can_migrate(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let name = name_of("plain");
    db.execute(&format!(
        "create role {name} login password 'p'; grant all on schema public to {name};
         grant create on database \"{}\" to {name}",
        db.name()
    ))
    .await;
    let plain = Store::connect(Options::new(db.url_as(&name, "p"))).await.unwrap();
    let migrated = plain.migrate().await.unwrap();
    assert!(migrated.to > 0);
    // The role is one of the whole server, so another test may have created it.
    match migrated.readers {
        Readers::Granted => assert!(!plain.can_become_reader().await.unwrap()),
        Readers::NoRole => assert!(!BY_HAND.is_empty()),
    }
    plain.check_version().await.unwrap();
    plain.close().await;
    db.execute(&format!("drop owned by {name} cascade; drop role {name}")).await;
}

#[sqlx::test(migrations = false)]
async fn databases_of_one_server_can_be_migrated_at_the_same_time(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let mut others = Vec::new();
    for _ in 0..4 {
        let name = name_of("many");
        db.execute(&format!("create database {name}")).await;
        others.push((Store::connect(Options::new(db.url_of(&name))).await.unwrap(), name));
    }
    let migrations = others.iter().flat_map(|(store, _)| [store.migrate(), store.migrate()]);
    for migrated in futures::future::join_all(migrations).await {
        assert_eq!(migrated.unwrap().readers, Readers::Granted);
    }
    for (store, name) in others {
        store.close().await;
        db.execute(&format!("drop database {name} with (force)")).await;
    }
}
