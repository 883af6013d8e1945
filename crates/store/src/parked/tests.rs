use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::*;
use crate::{
    append::Page,
    error::Class,
    log::Position,
    testing::{TestDatabase, envelope},
};

/// Records whose topic no log takes: it is no text.
fn bad(n: u64) -> Record {
    let topic = bytes::Bytes::from_static(b"/\xff");
    Envelope { topic, ..envelope("", n, b"bad") }.into()
}

fn good(n: u64) -> Record {
    envelope("/xmtp/0/m-1/proto", n, b"good").into()
}

async fn all(db: &TestDatabase) -> Vec<Parked> {
    db.store.parked_list(0, 10_000).await.unwrap()
}

/// The count is kept beside the table; both must agree.
async fn parked(db: &TestDatabase) -> i64 {
    let counted = db.value::<i64>("select count(*) from ground.parked").await;
    assert_eq!(db.store.parked_count().await.unwrap(), counted);
    counted
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn parking_the_same_record_twice_changes_nothing(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let numbered =
        |sequence| Record { origin: Some(Origin { space: u32::MAX, sequence }), ..bad(1) };
    let records = [bad(1), numbered(1), numbered(u64::MAX), bad(1), numbered(1)];
    let rows: Vec<_> = records.iter().map(|record| row("node", record, "no text")).collect();
    for expected in [3, 0] {
        let mut tx = db.store.begin().await.unwrap();
        assert_eq!(insert(&mut tx, &rows).await.unwrap(), expected);
        tx.commit().await.unwrap();
    }
    db.store.park("node", &bad(1), "another reason").await.unwrap();
    assert_eq!(parked(&db).await, 3);
    // What comes out is what went in, whatever its numbers.
    let found = all(&db).await;
    for record in &records[..3] {
        assert!(found.iter().any(|one| one.record == *record && one.reason == "no text"));
    }
    let first = db.store.parked_get(found[0].id).await.unwrap().unwrap();
    assert_eq!((first.tries, first.last_tried_at, first.source.as_str()), (0, None, "node"));
    assert_eq!(db.store.parked_drop(&[found[0].id, -1]).await.unwrap(), 1);
    assert_eq!(parked(&db).await, 2);
    assert!(db.store.parked_get(found[0].id).await.unwrap().is_none());
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_retry_removes_only_what_the_log_has_taken(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let page = Page { source: "node".into(), progress: Vec::new(), records: vec![good(3)] };
    db.store.append(&[page]).await.unwrap();
    let records: Vec<Record> = (0..300).map(bad).chain((1..=3).map(good)).collect();
    // A queue message that is no page.
    let body: Record = Envelope { topic: bytes::Bytes::new(), ..envelope("", 0, b"\xff") }.into();
    let mut rows: Vec<_> =
        records.iter().map(|record| row("node", record, "an old reason")).collect();
    rows.push(row("queue", &body, "not a page: too long"));
    let mut tx = db.store.begin().await.unwrap();
    assert_eq!(insert(&mut tx, &rows).await.unwrap(), 304);
    tx.commit().await.unwrap();

    let ids = db.store.parked_ids(0, 1_000).await.unwrap();
    assert_eq!(ids.len(), 304);
    let retried = db.store.parked_retry(&ids).await.unwrap();
    assert_eq!(retried, Retried { stored: 2, duplicates: 1, conflicts: 0, refused: 301 });
    assert_eq!(db.store.head().await.unwrap(), Position(3));
    assert_eq!(parked(&db).await, 301);
    for one in all(&db).await {
        assert_eq!(one.tries, 1, "{one:?}");
        assert!(one.last_tried_at.is_some_and(|at| at >= one.parked_at));
        match one.source.as_str() {
            "queue" => assert_eq!(one.reason, "not a page: too long"),
            _ => assert_eq!(one.reason, "the topic is not UTF-8"),
        }
    }
    assert!(db.store.source("queue").await.unwrap().is_none(), "it is no source of the log");

    let again = db.store.parked_retry(&ids).await.unwrap();
    assert_eq!(again, Retried { refused: 301, ..Retried::default() });
    assert!(all(&db).await.iter().all(|one| one.tries == 2));
    assert_eq!(db.store.parked_retry(&[]).await.unwrap(), Retried::default());
    assert_eq!(db.store.parked_retry(&[-1]).await.unwrap(), Retried::default());
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_value_that_postgresql_refuses_does_not_keep_its_neighbours_parked(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    // What this program admits and PostgreSQL refuses; the code is one of those that name a value.
    db.execute(
        "create function ground.refuse() returns trigger language plpgsql as $$
         begin
             if new.message = 'poison' then raise 'poison' using errcode = '22021'; end if;
             return new;
         end $$;
         create trigger refuse before insert on ground.envelopes for each row execute function ground.refuse()",
    )
    .await;
    let poison: Record = envelope("/xmtp/0/m-1/proto", 4, b"poison").into();
    let page = Page { source: "node".into(), progress: Vec::new(), records: vec![poison.clone()] };
    assert_eq!(db.store.append(&[page]).await.unwrap_err().class(), Class::Data);
    for record in (1..=7).map(good).chain([poison]) {
        db.store.park("node", &record, "an old reason").await.unwrap();
    }
    let ids = db.store.parked_ids(0, 10).await.unwrap();
    let retried = db.store.parked_retry(&ids).await.unwrap();
    assert_eq!(retried, Retried { stored: 7, refused: 1, ..Retried::default() });
    assert_eq!(parked(&db).await, 1);
    let left = all(&db).await.remove(0);
    assert!(left.reason.contains("poison") && left.tries == 1, "{left:?}");
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn retries_and_appends_at_the_same_time_wait_for_each_other_in_one_order(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    for n in 0..40 {
        db.store.park("node", &bad(n), "bad").await.unwrap();
        db.store.park("node", &good(n), "bad").await.unwrap();
    }
    let ids = db.store.parked_ids(0, 100).await.unwrap();
    // Each page parks new and known envelopes and appends such as the retry appends.
    let appends = (0..40).map(async |n| {
        let records = vec![good(n), bad(n), bad(n + 1_000)];
        let page = Page { source: "node".into(), progress: Vec::new(), records };
        db.store.append(&[page]).await
    });
    let retries = ids.chunks(8).map(|ids| db.store.parked_retry(ids));
    let (appended, retried) = futures::future::join(
        futures::future::join_all(appends),
        futures::future::join_all(retries),
    )
    .await;
    for outcome in appended {
        outcome.unwrap();
    }
    let refused: u64 = retried.into_iter().map(|outcome| outcome.unwrap().refused).sum();
    assert_eq!((refused, parked(&db).await), (40, 80));
    assert_eq!(db.store.head().await.unwrap(), Position(40));
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_retry_makes_the_partition_that_is_missing(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let end = db.value::<i64>("select max(upto) - 1 from ground.partitions").await;
    db.execute(&format!("update ground.head set position = {end}")).await;
    db.store.park("node", &good(1), "an old reason").await.unwrap();
    let ids = db.store.parked_ids(0, 10).await.unwrap();
    let retried = db.store.parked_retry(&ids).await.unwrap();
    assert_eq!(retried, Retried { stored: 1, ..Retried::default() });
    assert_eq!((db.store.head().await.unwrap(), parked(&db).await), (Position(end + 1), 0));
}
