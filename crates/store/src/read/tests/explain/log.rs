//! The log has many partitions. Only the statement that reads messages may touch any of them, and only those that it needs.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use uuid::Uuid;
use wire::Digest;

use super::{super::super::*, index, plan};
use crate::{log::Position, testing::TestDatabase};

/// Positions of one partition.
const WIDTH: i64 = 2_000_000;
const PARTITIONS: i64 = 75;

/// The partitions in the plans of a statement, in a transaction and in a single-statement read.
macro_rules! partitions {
    ($readers:ident, |$at:ident| $ask:expr) => {{
        let mut found: Vec<Vec<String>> = Vec::new();
        for single in [false, true] {
            let $at = match single {
                true => $readers.single_statement().await.unwrap(),
                false => $readers.snapshot().await.unwrap(),
            };
            plan::listen();
            let _ = $ask.await;
            let recorded = plan::recorded();
            $at.close().await.unwrap();
            assert_eq!(recorded.len(), 1, "{}", stringify!($ask));
            let plan = plan::plan(&$readers, &recorded[0], false).await;
            assert!(!plan.relations.is_empty());
            let log = plan.relations.into_iter().filter(|name| name.starts_with("envelopes_"));
            let mut log: Vec<String> = log.collect();
            log.sort();
            found.push(log);
        }
        assert_eq!(found[0], found[1], "{}", stringify!($ask));
        found.remove(0)
    }};
}

async fn extend(db: &TestDatabase) {
    let ahead = WIDTH * PARTITIONS;
    db.execute(&format!("select ground.extend({WIDTH}, {ahead})")).await;
    assert_eq!(db.value::<i64>("select count(*) from ground.partitions").await, PARTITIONS);
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn only_messages_touch_the_log_and_only_the_partitions_that_they_are_in(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    extend(&db).await;
    let readers = index::readers(&db).await;

    let at = |partition: i64, nth: i64| Position(partition * WIDTH + nth);
    let some = [at(3, 1), at(3, 2), at(70, WIDTH)];
    let found = partitions!(readers, |at| at.messages_at(&some));
    assert_eq!(found, ["envelopes_000006000001", "envelopes_000140000001"]);
    let found = partitions!(readers, |at| at.messages_at(&some[..1]));
    assert_eq!(found, ["envelopes_000006000001"]);

    let (digest, key) = (Digest::from([7; 32]), Uuid::from_u128(7));
    let page = PageRequest::first(EnvelopeOrder::Indexed, false, 50);
    let none: &[&str] = &[];
    for many in [1, 3] {
        let (positions, digests, keys) = (&some[..many], vec![digest; many], vec![key; many]);
        let names = vec![(1, key); many];
        assert_eq!(partitions!(readers, |at| at.envelopes_by_position(positions)), none);
        assert_eq!(partitions!(readers, |at| at.envelopes_by_digest(&digests)), none);
        assert_eq!(partitions!(readers, |at| at.messages_by_id(&names)), none);
        assert_eq!(partitions!(readers, |at| at.messages_of_envelopes(positions)), none);
        assert_eq!(partitions!(readers, |at| at.envelopes_of_messages(positions)), none);
        assert_eq!(partitions!(readers, |at| at.envelopes_of_invites(&keys)), none);
        assert_eq!(partitions!(readers, |at| at.topics_by_key(&keys)), none);
        let filter = EnvelopeFilter { topics: Some(keys.clone()), ..Default::default() };
        assert_eq!(partitions!(readers, |at| at.envelopes(&filter, &page)), none);
    }
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_statement_for_messages_locks_the_partitions_that_they_are_in(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    extend(&db).await;
    let at = index::readers(&db).await.snapshot().await.unwrap();
    at.messages_at(&[Position(5 * WIDTH + 1)]).await.unwrap();
    let locked: i64 = db
        .value(
            "select count(distinct relation) from pg_locks
              where relation::regclass::text like 'ground.envelopes\\_%'
                and relation in (select oid from pg_class where relkind = 'r')",
        )
        .await;
    at.close().await.unwrap();
    assert_eq!(locked, 1);
}
