//! A reader tries what readers may not do.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::{
    append::Page,
    database::Options,
    keys::{NewKey, Scope},
    testing::{TestDatabase, envelope},
};

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A login of the readers' role, which is gone afterwards.
async fn login(db: &TestDatabase) -> (Store, String) {
    let name = format!("reader_{}_{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
    db.store.reader_login(&name, "first").await.unwrap();
    db.store.reader_login(&name, "sec'ret").await.unwrap();
    let url = db.url_as(&name, "sec%27ret");
    (Store::connect(Options::new(url)).await.unwrap(), name)
}

async fn drop_login(db: &TestDatabase, reader: Store, name: &str) {
    reader.pool.close();
    let client = db.store.client().await.unwrap();
    client.batch_execute(&format!("drop role {name}")).await.unwrap();
}

#[tokio::test]
async fn a_reader_can_do_nothing_but_read_what_is_served() {
    let db = TestDatabase::migrated().await;
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
        "insert into derived.accounts values ('\\x00', true, 0, 0)",
        "update derived.totals set rows = 0",
        "delete from derived.watermarks",
        "truncate derived.invites",
        "update ground.head set position = 0",
        "select * from ground.head for update",
        "delete from ground.sources",
        "insert into access.keys (id, name, hash, scopes) values ('a', 'a', sha256(''), '{admin}')",
        "update access.live_keys set scopes = '{admin}'",
        "delete from ground.messages",
        "do $$ begin lock table derived.topic_names; end $$",
        "select ground.extend(100000000)",
        "copy derived.totals from program 'true'",
        "copy (select 1) to '/tmp/x'",
        "select lo_create(0)",
        "select lo_from_bytea(0, '\\x00')",
        "select pg_read_file('/etc/passwd')",
        // Making.
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
        // Seeing what is not served.
        "select message from ground.envelopes",
        "select * from ground.envelopes",
        "select source from ground.envelopes",
        "select * from ground.envelopes_000000",
        "select * from ground.identities",
        "select message from ground.parked",
        "select * from ground.crawl_topics",
        "select * from access.keys",
        "select rolpassword from pg_authid",
    ];
    let client = reader.client().await.unwrap();
    let mut wrong = Vec::new();
    for statement in refused {
        let outcome = client.batch_execute(statement).await;
        let code = outcome.as_ref().err().and_then(|error| error.code());
        if code != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
            wrong.push(format!("{statement}: {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // What a session can switch off is no protection, and need be none.
    client.batch_execute("set default_transaction_read_only = off").await.unwrap();
    assert!(client.batch_execute("delete from derived.totals").await.is_err());
    drop(client);

    assert_eq!(reader.live_keys().await.unwrap().len(), 1);
    reader.touch_keys(std::slice::from_ref(&key.id)).await.unwrap();
    assert!(db.store.keys(false).await.unwrap()[0].last_used_at.is_some());
    reader.check_version().await.unwrap();
    let snapshot = reader.snapshot().await.unwrap();
    snapshot.status().await.unwrap();
    snapshot.close().await.unwrap();
    drop_login(&db, reader, &name).await;
}

#[tokio::test]
async fn messages_of_private_stores_are_no_readers_business() {
    let db = TestDatabase::migrated().await;
    let private = format!("{}0xabc/key_bundle/proto", wire::topic::PRIVATE_STORES);
    let envelopes =
        vec![envelope("/xmtp/0/m-1/proto", 1, b"open"), envelope(&private, 2, b"12345")];
    let page = Page { source: "node".into(), cursor: None, envelopes };
    db.store.append(&[page]).await.unwrap();
    let (reader, name) = login(&db).await;
    let client = reader.client().await.unwrap();
    let rows = client.query("select position, message from ground.messages", &[]).await.unwrap();
    let seen: Vec<(i64, Vec<u8>)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(seen, [(1, b"open".to_vec())]);
    // A condition that fails and tells on what: it is not asked about rows that are hidden.
    let error = client
        .query("select 1 from ground.messages where encode(message, 'escape')::int > 0", &[])
        .await
        .unwrap_err();
    let said = error.as_db_error().unwrap().message().to_owned();
    assert!(said.contains("open") && !said.contains("12345"), "{said}");
    // One row of a large log is found by its position, without a look at the others.
    let plan = client
        .query("explain select message from ground.messages where position = any('{1,2}')", &[])
        .await
        .unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.iter().any(|line| line.contains("Index Cond: (\"position\" = ANY")), "{plan:#?}");
    drop(client);
    drop_login(&db, reader, &name).await;
}

#[tokio::test]
async fn rights_are_told_as_they_are() {
    let db = TestDatabase::migrated().await;
    let owner = db.store.rights().await.unwrap();
    assert!(!owner.resettable && owner.excess.len() >= 4, "{owner:?}");
    assert!(db.store.can_become_reader().await.unwrap());
    let role = Some(READER.to_owned());
    let store = Store::connect(Options { role, ..Options::new(db.url()) }).await.unwrap();
    let taken_on = Rights { role: READER.into(), resettable: true, excess: Vec::new() };
    assert_eq!(store.rights().await.unwrap(), taken_on);
    store.pool.close();
}

#[tokio::test]
async fn a_user_who_may_not_make_roles_migrates_all_the_same() {
    let db = TestDatabase::empty().await;
    let (name, serial) = (std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
    let name = format!("plain_{name}_{serial}");
    let client = db.store.client().await.unwrap();
    let make = format!(
        "create role {name} login password 'p'; grant all on schema public to {name};
         grant create on database {} to {name}",
        db.name()
    );
    client.batch_execute(&make).await.unwrap();
    let plain = Store::connect(Options::new(db.url_as(&name, "p"))).await.unwrap();
    // Other tests have made the role in this server, so what is missing is the right to take it on.
    let migrated = plain.migrate().await.unwrap();
    assert!(migrated.to > 0);
    match migrated.readers {
        Readers::Granted => assert!(!plain.can_become_reader().await.unwrap()),
        Readers::NoRole => assert!(!BY_HAND.is_empty()),
    }
    plain.check_version().await.unwrap();
    plain.pool.close();
    client.batch_execute(&format!("drop owned by {name} cascade; drop role {name}")).await.unwrap();
}

#[tokio::test]
async fn many_who_migrate_at_once_give_the_same() {
    let databases = futures::future::join_all((0..4).map(|_| TestDatabase::empty())).await;
    let migrations = databases.iter().flat_map(|db| [db.store.migrate(), db.store.migrate()]);
    for migrated in futures::future::join_all(migrations).await {
        assert_eq!(migrated.unwrap().readers, Readers::Granted);
    }
}
