use bytes::Bytes;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use wire::Envelope;

use super::*;
use crate::{
    log::Content,
    projector::tests::{append, assert_same, capture, derived, projector},
    testing::TestDatabase,
};

/// Everything that was counted, and everything that lists show.
async fn counted(db: &TestDatabase) -> Vec<(String, Vec<String>)> {
    let counted =
        ["topic_names", "topic_counts", "conversations", "volume_minutes", "volume_hours"];
    derived(db).await.into_iter().filter(|(table, _)| counted.contains(&table.as_str())).collect()
}

async fn rebuilt(db: &TestDatabase) -> Vec<(String, Vec<String>)> {
    db.store.rebuild(&[]).await.unwrap();
    projector(db, 333).catch_up().await.unwrap();
    derived(db).await
}

async fn bytes_left(db: &TestDatabase, condition: &str) -> i64 {
    db.value(&format!("select count(*) from ground.envelopes where {condition}")).await
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_topic_is_erased_and_what_was_counted_stays_counted(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let envelopes = capture(1_500);
    append(&db, &envelopes).await;
    let head = projector(&db, 100).catch_up().await.unwrap();
    let before = counted(&db).await;
    let (topic, held): (String, i64) = {
        let busiest = "from derived.topic_names n join derived.conversations c using (key)
                       join derived.topic_counts t using (key) order by c.message_count desc, n.name limit 1";
        (
            db.value(&format!("select n.name {busiest}")).await,
            db.value(&format!("select t.envelope_count {busiest}")).await,
        )
    };
    assert!(held > 2, "a topic with {held} envelopes proves little");
    let of_topic = format!("topic = '{topic}'::bytea");
    let scope = Scope::Topic(topic.clone());
    let planned = db.store.erase(&scope, true).await.unwrap();
    assert_eq!(i64::try_from(planned.envelopes).unwrap(), held);
    assert_eq!(bytes_left(&db, &of_topic).await, held, "a dry run erases nothing");

    assert_eq!(db.store.erase(&scope, false).await.unwrap(), planned);
    assert_eq!(bytes_left(&db, &of_topic).await, 0);
    assert_same(&counted(&db).await, &before);
    let conversation = crate::log::topic_key(topic.as_bytes());
    for count in [
        format!("select count(*) from derived.messages where conversation = '{conversation}'"),
        format!(
            "select count(*) from derived.envelopes where topic_key = '{conversation}' and not erased"
        ),
    ] {
        assert_eq!(db.value::<i64>(&count).await, 0, "{count}");
    }
    let after = derived(&db).await;
    assert_same(&rebuilt(&db).await, &after);
    // A copy that comes again does not come back, and the log goes on.
    append(&db, &envelopes).await;
    assert_eq!(db.store.head().await.unwrap(), head);
    let page = db.store.page(Position(0), head, Default::default()).await.unwrap();
    let erased = page.iter().filter(|logged| matches!(logged.content, Content::Erased(_))).count();
    assert_eq!((page.len(), i64::try_from(erased).unwrap()), (1_500, held));
    assert_eq!(db.store.erase(&scope, false).await.unwrap(), Erased::default());
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn an_account_is_erased_with_the_copies_in_other_inboxes(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(3_000)).await;
    projector(&db, 500).catch_up().await.unwrap();
    let before = counted(&db).await;
    let accounts: i64 = db.value("select count(*) from derived.accounts").await;
    let account: Vec<u8> = db
        .value("select sender from derived.invites group by sender order by count(*) desc, sender limit 1")
        .await;
    let account = Address::try_from(account.as_slice()).unwrap();
    let bytes = format!("'\\x{}'", account.lower().trim_start_matches("0x"));
    let erased = db.store.erase(&Scope::Account(account), false).await.unwrap();
    assert!(erased.invites > 0 && erased.contact_bundles > 0, "{erased:?}");
    for count in [
        format!("select count(*) from derived.invites where sender = {bytes} or recipient = {bytes}"),
        format!("select count(*) from derived.messages where sender = {bytes} or recipient = {bytes}"),
        format!("select count(*) from derived.contact_bundles where account = {bytes}"),
        format!("select count(*) from derived.accounts where address = {bytes} and has_contact_bundle"),
        format!(
            "select count(*) from derived.envelopes e join derived.topic_names n on n.key = e.topic_key
              where (n.owner = {bytes} or n.peer = {bytes}) and not e.erased"
        ),
    ] {
        assert_eq!(db.value::<i64>(&count).await, 0, "{count}");
    }
    assert_same(&counted(&db).await, &before);
    assert_eq!(db.value::<i64>("select count(*) from derived.accounts").await, accounts);
    let after = derived(&db).await;
    assert_same(&rebuilt(&db).await, &after);
}

fn message(envelope: &Envelope, topic: &str) -> Envelope {
    Envelope { topic: Bytes::copy_from_slice(topic.as_bytes()), ..envelope.clone() }
}

/// The same bytes on another topic do not move a message out of its conversation; when the first copy is erased, the other
/// one is a message of its own.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn the_first_copy_decides_the_conversation_until_it_is_erased(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let all = capture(5_000);
    let name = |envelope: &Envelope| String::from_utf8(envelope.topic.to_vec()).unwrap();
    let key = |name: &str| crate::log::topic_key(name.as_bytes());
    let ephemeral = |name: &str| name.replace("/m-", "/mE-");
    // One whose ephemeral topic has the smaller key.
    let original = all
        .iter()
        .filter(|envelope| envelope.topic.starts_with(b"/xmtp/0/m-"))
        .find(|envelope| key(&ephemeral(&name(envelope))) < key(&name(envelope)))
        .unwrap();
    let (original, topic) = (original.clone(), name(original));
    let copy = message(&original, &ephemeral(&topic));
    append(&db, std::slice::from_ref(&original)).await;
    projector(&db, 1).catch_up().await.unwrap();
    append(&db, std::slice::from_ref(&copy)).await;
    projector(&db, 1).catch_up().await.unwrap();
    let beside = derived(&db).await;
    assert_same(&rebuilt(&db).await, &beside);
    assert_eq!(db.value::<i64>("select count(*) from derived.messages").await, 1);
    assert_eq!(db.value::<i64>("select count(*) from derived.message_copies").await, 1);
    assert_eq!(
        db.value::<uuid::Uuid>("select conversation from derived.messages").await,
        key(&topic)
    );

    db.store.erase(&Scope::Topic(topic.clone()), false).await.unwrap();
    let conversation: uuid::Uuid = db.value("select conversation from derived.messages").await;
    assert_eq!(conversation, key(&ephemeral(&topic)));
    assert_eq!(db.value::<i64>("select count(*) from derived.message_copies").await, 0);
    assert_eq!(
        db.value::<i64>("select rows from derived.totals where name = 'messages' and part = ''")
            .await,
        1
    );
    let after = derived(&db).await;
    assert_same(&rebuilt(&db).await, &after);
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn retention_erases_by_age_kind_and_generation_also_what_comes_late(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let envelopes = capture(3_000);
    append(&db, &envelopes[..2_000]).await;
    projector(&db, 500).catch_up().await.unwrap();
    let newest = envelopes.iter().map(|envelope| envelope.timestamp_ns).max().unwrap();
    let now = newest + 1_000_000_000;
    let rules = [Rule {
        generations: Some(vec![Generation::V2]),
        kinds: Some(vec![PayloadKind::MessageV2, PayloadKind::Invite]),
        older_than: Duration::ZERO,
    }];
    let matching = "select count(*) from derived.envelopes where not erased and generation = 2 and kind in (2, 4)";
    let others = "select count(*) from derived.envelopes where not erased and not (generation = 2 and kind in (2, 4))";
    let kept: i64 = db.value(others).await;
    let run = async || {
        let mut sum = Erased::default();
        loop {
            let erased = db.store.retain(&rules, now).await.unwrap();
            if erased == Erased::default() {
                return sum;
            }
            assert!(erased.envelopes <= 2 * BATCH.unsigned_abs());
            sum += erased;
        }
    };
    let expected: i64 = db.value(matching).await;
    assert!(expected > BATCH, "several batches are needed");
    assert_eq!(i64::try_from(run().await.envelopes).unwrap(), expected);
    // What is old already when it comes goes, too.
    append(&db, &envelopes[2_000..]).await;
    projector(&db, 500).catch_up().await.unwrap();
    let late: i64 = db.value(matching).await;
    assert!(late > 0);
    assert_eq!(i64::try_from(run().await.envelopes).unwrap(), late);
    assert_eq!((db.value::<i64>(matching).await, db.value::<i64>(others).await >= kept), (0, true));
    assert_eq!(
        db.value::<i64>("select count(*) from ground.tombstones where reason <> 'retention'").await,
        0
    );
    let after = derived(&db).await;
    assert_same(&rebuilt(&db).await, &after);
    // While something is built again, retention waits: it would begin anew.
    db.store.rebuild(&["topics".to_owned()]).await.unwrap();
    assert_eq!(db.store.retain(&rules, u64::MAX).await.unwrap(), Erased::default());
}

/// Until a page is written, a projector may hold bytes that were erased meanwhile.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn what_was_read_before_an_erasure_is_not_written_after_it(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(1_000)).await;
    projector(&db, 200).catch_up().await.unwrap();
    db.store.rebuild(&[]).await.unwrap();
    let mut beside = projector(&db, 100);
    beside.begin(5).await;
    // Some rows are in the new tables, and a page that was read is not written yet.
    let account: Vec<u8> = db.value("select sender from derived.invites limit 1").await;
    let scope = Scope::Account(Address::try_from(account.as_slice()).unwrap());
    let erased = db.store.erase(&scope, false).await.unwrap();
    assert!(erased.envelopes > 0);
    let after = derived(&db).await;
    beside.catch_up().await.unwrap();
    assert_same(&derived(&db).await, &after);
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_partition_is_dropped_when_everything_in_it_was_erased(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    projector(&db, 100).catch_up().await.unwrap();
    // The log stands ten envelopes before the end of its first partition.
    db.execute(
        "update ground.head set position = 1999990; update derived.watermarks set position = 1999990;
         update derived.served set position = 1999990",
    )
    .await;
    let envelopes = capture(20);
    append(&db, &envelopes).await;
    let head = projector(&db, 7).catch_up().await.unwrap();
    assert_eq!(db.store.maintain().await.unwrap().frozen, 1);
    let rule = Rule { generations: None, kinds: None, older_than: Duration::ZERO };
    let oldest: Vec<u64> = envelopes[..10].iter().map(|envelope| envelope.timestamp_ns).collect();
    db.execute("update derived.envelopes set timestamp_ns = -9000000000000000000 where position <= 2000000").await;
    let now = 300_000_000_000_000_000;
    assert!(oldest.iter().all(|at| *at > now), "only the changed ones are older");
    assert_eq!(db.store.retain(&[rule], now).await.unwrap().envelopes, 10);
    assert_eq!(db.store.maintain().await.unwrap().dropped, 0, "erasing may go on");
    db.execute("update ground.partitions set erased_at = now() - interval '2 minutes' where erased_at is not null").await;
    assert_eq!(db.store.maintain().await.unwrap().dropped, 1);
    assert_eq!(db.store.maintain().await.unwrap().dropped, 0);
    assert_eq!(db.value::<i64>("select count(*) from ground.envelopes").await, 10);
    let page = db.store.page(Position(1_999_990), head, Default::default()).await.unwrap();
    assert_eq!(page.len(), 20, "the log is read over the tombstones");
    append(&db, &envelopes).await;
    assert_eq!(db.store.head().await.unwrap(), head);
}

/// With a higher age less is too old than before, whatever was applied already; so it is after a clock that was ahead.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_rule_that_becomes_milder_erases_no_more(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let envelopes = capture(400);
    append(&db, &envelopes[..200]).await;
    projector(&db, 100).catch_up().await.unwrap();
    let newest = envelopes.iter().map(|envelope| envelope.timestamp_ns).max().unwrap();
    let rule = |older_than| [Rule { generations: None, kinds: None, older_than }];
    let century = Duration::from_secs(100 * 365 * 86_400);
    let erased = db.store.retain(&rule(Duration::ZERO), newest + 1).await.unwrap();
    assert_eq!(erased.envelopes, 200);
    append(&db, &envelopes[200..]).await;
    projector(&db, 100).catch_up().await.unwrap();
    let none = Erased::default();
    assert_eq!(db.store.retain(&rule(century), newest + 1).await.unwrap(), none);
    assert_eq!(db.store.retain(&rule(century), newest + 1).await.unwrap(), none);
    let erased = db.store.retain(&rule(Duration::ZERO), newest + 1).await.unwrap();
    assert_eq!(erased.envelopes, 200);
}

/// What retention looks at may be behind what is served.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn retention_passes_over_nothing_while_envelopes_are_stale(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(100)).await;
    let mut writer = projector(&db, 100);
    writer.catch_up().await.unwrap();
    db.execute("alter table derived.envelopes add constraint broken check (position < 101)").await;
    append(&db, &capture(500)).await;
    assert!(writer.catch_up().await.is_err());
    while db.value::<i64>("select position from derived.served").await < 500 {
        let _ = writer.catch_up().await;
    }
    let rules = [Rule { generations: None, kinds: None, older_than: Duration::ZERO }];
    assert_eq!(db.store.retain(&rules, u64::MAX / 2).await.unwrap().envelopes, 100);
    db.execute("alter table derived.envelopes drop constraint broken").await;
    projector(&db, 100).catch_up().await.unwrap();
    assert_eq!(db.store.retain(&rules, u64::MAX / 2).await.unwrap().envelopes, 400);
}

/// Envelopes that the log could not take, and evidence against a source, go with their topic.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn what_was_put_aside_of_a_topic_is_erased_as_well(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    use crate::append::{Origin, Page, Record};
    let db = TestDatabase::on(options).await;
    let record = |message: &'static [u8]| Record {
        envelope: crate::testing::envelope("/xmtp/0/m-x/proto", 1, message),
        origin: Some(Origin { space: 0, sequence: 1 }),
    };
    let records = vec![record(b"one"), record(b"two")];
    let page = Page { source: "node".into(), progress: Vec::new(), records };
    assert_eq!(db.store.append(&[page]).await.unwrap().conflicts, 1);
    let parked = Record::from(crate::testing::envelope("/xmtp/0/m-x/proto", 2, b"three"));
    db.store.park("node", &parked, "why").await.unwrap();
    projector(&db, 10).catch_up().await.unwrap();
    let scope = Scope::Topic("/xmtp/0/m-x/proto".into());
    assert_eq!(db.store.erase(&scope, false).await.unwrap().envelopes, 1);
    for table in ["ground.envelopes", "ground.conflicts", "ground.parked"] {
        assert_eq!(db.value::<i64>(&format!("select count(*) from {table}")).await, 0, "{table}");
    }
    assert_eq!(db.value::<i64>("select sum(rows)::bigint from ground.counts").await, 0);
}

/// A program that does not know a projection, or knows an older version of it, cannot take messages out of it.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn an_older_program_does_not_erase_beside_a_newer_one(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(50)).await;
    projector(&db, 10).catch_up().await.unwrap();
    db.store.rebuild(&["topics".to_owned()]).await.unwrap();
    let topic: String = db.value("select name from derived.topic_names limit 1").await;
    for newer in [
        "update derived.rebuilds set version = 2, position = 40",
        "insert into derived.watermarks (name, version, position) values ('inboxes', 1, 50)",
    ] {
        db.execute(newer).await;
        let refused = db.store.erase(&Scope::Topic(topic.clone()), false).await.unwrap_err();
        assert!(refused.to_string().contains("newer program"), "{refused}");
        if newer.starts_with("update") {
            assert!(db.store.rebuild(&["topics".to_owned()]).await.is_err());
            let at: i64 = db.value("select position from derived.rebuilds").await;
            assert_eq!(at, 40, "the newer program's tables stay");
            db.execute("delete from derived.rebuilds").await;
        }
    }
}
