//! Rebuilding beside what is served, raised versions, and programs of several versions on one database.

use super::*;

async fn version(db: &TestDatabase, name: &str, version: i32) {
    db.execute(&format!("update derived.watermarks set version = {version} where name = '{name}'"))
        .await;
}

async fn mark(db: &TestDatabase, name: &str) -> crate::watermarks::Watermark {
    let marks = db.store.watermarks().await.unwrap();
    marks.into_iter().find(|mark| mark.name == name).unwrap()
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_raised_version_is_built_beside_the_old_rows(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let envelopes = capture(500);
    append(&db, &envelopes[..300]).await;
    let before = projector(&db, 100).catch_up().await.unwrap();
    // What an older program wrote: other rows, another version.
    version(&db, "topics", 0).await;
    db.execute("update derived.topic_counts set envelope_count = 1000000").await;
    append(&db, &envelopes[300..]).await;

    let mut new = projector(&db, 50);
    new.prepare().await.unwrap();
    let topics = mark(&db, "topics").await;
    assert_eq!((topics.version, topics.position), (0, before), "the old rows are served");
    assert_eq!(topics.rebuild.unwrap().position, Position(0));
    let old_rows = "select count(*) from derived.topic_counts where envelope_count = 1000000";
    let served = "select position from derived.served";
    let (rows, mut head) = (db.value::<i64>(old_rows).await, before.0);
    while mark(&db, "topics").await.rebuild.is_some() {
        assert_eq!(db.value::<i64>(old_rows).await, rows, "old rows stay until the swap");
        new.round().await.unwrap();
        let now = db.value::<i64>(served).await;
        assert!(now >= head, "the served head moved back from {head} to {now}");
        head = now;
    }
    let caught_up = new.catch_up().await.unwrap();
    assert_eq!(mark(&db, "topics").await.position, caught_up);
    assert_eq!(db.value::<i64>(old_rows).await, 0);
    let after = derived(&db).await;
    db.store.rebuild(&[]).await.unwrap();
    projector(&db, 1_000).catch_up().await.unwrap();
    assert_same(&derived(&db).await, &after);
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_new_projection_is_built_beside_the_others(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(300)).await;
    let head = projector(&db, 100).catch_up().await.unwrap();
    let before = derived(&db).await;
    // To a database from before it was there, a projection is new.
    db.execute("delete from derived.watermarks where name = 'invites'; delete from derived.totals where projection = 'invites';
                truncate derived.invites, derived.invite_copies").await;
    projector(&db, 100).prepare().await.unwrap();
    assert_eq!(db.value::<i64>("select position from derived.served").await, head.0);
    projector(&db, 100).catch_up().await.unwrap();
    assert_same(&derived(&db).await, &before);
}

/// An older program leaves alone what a newer one has built, goes on with the rest, and does not spin.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn an_older_program_beside_a_newer_one_leaves_its_projection_alone(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let envelopes = capture(400);
    append(&db, &envelopes[..200]).await;
    let mut old = projector(&db, 100);
    let before = old.catch_up().await.unwrap();
    version(&db, "topics", 99).await;
    append(&db, &envelopes[200..]).await;
    let mut rounds = 0;
    while old.round().await.unwrap() {
        rounds += 1;
        assert!(rounds < 50, "it spins");
    }
    let head = db.store.head().await.unwrap();
    for mark in db.store.watermarks().await.unwrap() {
        let expected = if mark.name == "topics" { before } else { head };
        assert_eq!(mark.position, expected, "{}", mark.name);
    }
    assert_eq!(db.value::<i64>("select position from derived.served").await, head.0);
    assert!(!old.round().await.unwrap(), "there is nothing to do");
    let refused = db.store.rebuild(&["topics".to_owned()]).await.unwrap_err();
    assert!(refused.to_string().contains("newer program"), "{refused}");
    // A restart of it changes nothing.
    let mut again = projector(&db, 100);
    assert_eq!(again.catch_up().await.unwrap(), head);
    assert_eq!(mark(&db, "topics").await.version, 99);
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_swap_keeps_indexes_grants_settings_and_views(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(200)).await;
    projector(&db, 100).catch_up().await.unwrap();
    db.execute(
        "create view public.busy as select key, envelope_count from derived.topic_counts where envelope_count > 1;
         create view public.busiest as select max(envelope_count) as most from public.busy;
         comment on view public.busy is 'topics with more than one envelope';
         grant select on public.busy to pg_monitor; grant select on derived.accounts to pg_monitor;
         comment on column derived.accounts.address is '20 bytes'",
    )
    .await;
    let shape = "select string_agg(line, E'\\n' order by line) from (
        select indexdef as line from pg_indexes where schemaname = 'derived'
         union all select conname || ' ' || pg_get_constraintdef(oid) from pg_constraint where connamespace = 'derived'::regnamespace
         union all select relname || ' ' || coalesce(reloptions::text, '') || coalesce(relacl::text, '') from pg_class
                    where relnamespace in ('derived'::regnamespace, 'public'::regnamespace) and relkind in ('r', 'v')
         union all select attrelid::regclass::text || attname || attnum || atttypid::regtype || attnotnull || attstorage::text
                     from pg_attribute a join pg_class c on c.oid = attrelid
                    where relnamespace = 'derived'::regnamespace and attnum > 0 and relkind = 'r'
         union all select obj_description('public.busy'::regclass)
         union all select col_description('derived.accounts'::regclass, 1)) lines";
    let (before, oid) = (
        db.value::<String>(shape).await,
        db.value::<i64>("select 'derived.topic_counts'::regclass::oid::bigint").await,
    );
    let most: i64 = db.value("select most from busiest").await;
    db.store.rebuild(&[]).await.unwrap();
    projector(&db, 100).catch_up().await.unwrap();
    assert_ne!(db.value::<i64>("select 'derived.topic_counts'::regclass::oid::bigint").await, oid);
    assert_eq!(db.value::<String>(shape).await, before);
    assert_eq!(db.value::<i64>("select most from busiest").await, most);
    assert_eq!(
        db.value::<i64>("select count(*) from pg_class where relnamespace = 'rebuild'::regnamespace and relkind = 'r'").await,
        1,
        "only the totals of later rebuilds"
    );
}

/// A reader that is under way holds a swap up; it is tried again, and nobody sees anything of it.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_swap_waits_for_readers_and_is_tried_again(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(300)).await;
    projector(&db, 100).catch_up().await.unwrap();
    let mut reader = db.store.begin().await.unwrap();
    sqlx::raw_sql("set transaction isolation level repeatable read; lock table derived.served in access share mode")
        .execute(&mut *reader)
        .await
        .unwrap();
    let count = "select count(*) from derived.topic_names";
    let seen: i64 = sqlx::query_scalar(count).fetch_one(&mut *reader).await.unwrap();
    db.store.rebuild(&["topics".to_owned()]).await.unwrap();
    let mut writer = projector(&db, 100);
    writer.prepare().await.unwrap();
    // Until the swap is tried and readers hold it up.
    while writer.swap_at.is_none() {
        writer.round().await.unwrap();
    }
    let again: i64 = sqlx::query_scalar(count).fetch_one(&mut *reader).await.unwrap();
    assert_eq!((again, seen > 0), (seen, true));
    assert!(mark(&db, "topics").await.rebuild.is_some());
    reader.commit().await.unwrap();
    writer.swap_at = None;
    writer.catch_up().await.unwrap();
    assert!(mark(&db, "topics").await.rebuild.is_none());
    assert_eq!(db.value::<i64>(count).await, seen);
}

/// What somebody else has made over a served table stays, and only that projection waits.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_swap_that_cannot_be_is_one_projections_trouble(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(200)).await;
    projector(&db, 100).catch_up().await.unwrap();
    db.execute(
        "create view public.counts as select key from derived.topic_counts;
         create materialized view public.kept as select count(*) as rows from derived.topic_counts",
    )
    .await;
    db.store.rebuild(&["topics".to_owned()]).await.unwrap();
    append(&db, &capture(400)).await;
    let mut writer = projector(&db, 100);
    let refused = writer.catch_up().await.unwrap_err();
    assert!(refused.to_string().contains("topics"), "{refused}");
    let head = db.store.head().await.unwrap().0;
    while db.value::<i64>("select position from derived.served").await < head {
        writer.round().await.unwrap();
    }
    assert!(mark(&db, "topics").await.error.unwrap().contains("depend"));
    assert!(db.value::<i64>("select rows from public.kept").await > 0);
    db.execute("drop materialized view public.kept").await;
    projector(&db, 100).catch_up().await.unwrap();
    assert!(mark(&db, "topics").await.rebuild.is_none());
    assert!(db.value::<i64>("select count(*) from public.counts").await > 0);
}

/// A stale projection and a rebuild that stand at one position do not keep each other there.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_rebuild_meets_a_stale_projection_and_both_go_on(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(2_000)).await;
    projector(&db, 100).catch_up().await.unwrap();
    db.store.rebuild(&["topics".to_owned()]).await.unwrap();
    // As a projection that failed once, and a rebuild that has come so far.
    db.execute(
        "update derived.watermarks set position = 990 where name = 'undecodables';
         delete from derived.undecodables where position > 990",
    )
    .await;
    let caught_up = tokio::time::timeout(Duration::from_secs(60), async {
        projector(&db, 100).catch_up().await.unwrap()
    });
    let head = caught_up.await.expect("both go on");
    assert!(db.store.watermarks().await.unwrap().iter().all(|mark| mark.position == head));
}

/// Any number of projectors may work: whoever finishes a rebuild, the others go on.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn several_projectors_finish_rebuilds_together(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(600)).await;
    projector(&db, 100).catch_up().await.unwrap();
    let before = derived(&db).await;
    let stop = CancellationToken::new();
    let runs: Vec<_> = (0..3).map(|_| tokio::spawn(projector(&db, 50).run(stop.clone()))).collect();
    for _ in 0..4 {
        db.store.rebuild(&[]).await.unwrap();
        let done = async {
            while db.store.watermarks().await.unwrap().iter().any(|mark| mark.rebuild.is_some()) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), done).await.expect("it is finished");
    }
    stop.cancel();
    for run in runs {
        run.await.unwrap().unwrap();
    }
    assert_same(&derived(&db).await, &before);
}
