use std::io::Read;

use sqlx::{
    AssertSqlSafe,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::*;
use crate::{append::Page, projection::Entry, testing::TestDatabase};

mod fold;
mod rebuilds;

pub(crate) fn capture(limit: usize) -> Vec<wire::Envelope> {
    // The welcomes come first, so that no part of the capture is without them.
    let mut all = envelopes("v3-old/welcomes.ndjson.gz");
    all.extend(envelopes("legacy-a/envelopes.ndjson.gz"));
    all.truncate(limit);
    all
}

fn envelopes(name: &str) -> Vec<wire::Envelope> {
    let path = format!("{}/../devnet/captures/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text.lines().map(|line| wire::json::from_line(line).unwrap()).collect()
}

pub(crate) async fn append(db: &TestDatabase, envelopes: &[wire::Envelope]) {
    for part in envelopes.chunks(500) {
        let records = part.iter().cloned().map(Into::into).collect();
        let page = Page { source: "capture".into(), progress: Vec::new(), records };
        db.store.append(&[page]).await.unwrap();
    }
}

pub(crate) fn projector(db: &TestDatabase, page: i64) -> Projector {
    let bounds = PageBounds { envelopes: page, bytes: 1 << 20 };
    let config = Config { bounds, poll: Duration::from_millis(5) };
    Projector::new(db.store.clone(), Arc::new(Verifier::new(1024)), config)
}

/// Tables that must have the same rows; says which rows differ.
#[track_caller]
pub(crate) fn assert_same(left: &[(String, Vec<String>)], right: &[(String, Vec<String>)]) {
    for ((table, left), (_, right)) in left.iter().zip(right) {
        let only = |these: &[String], those: &[String]| {
            these.iter().filter(|row| !those.contains(row)).take(5).cloned().collect::<Vec<_>>()
        };
        assert!(
            left == right,
            "{table} differs: only left {:#?}, only right {:#?}",
            only(left, right),
            only(right, left)
        );
    }
    assert_eq!(left.len(), right.len());
}

impl Projector {
    /// Works for some rounds.
    pub(crate) async fn begin(&mut self, rounds: usize) {
        self.prepare().await.unwrap();
        for _ in 0..rounds {
            assert!(self.round().await.unwrap());
        }
    }
}

/// Every row of every derived table as text, each table in the order of its key.
pub(crate) async fn derived(db: &TestDatabase) -> Vec<(String, Vec<String>)> {
    let mut connection = db.store.connection().await.unwrap();
    let mut tables = Vec::new();
    let all = projections::all();
    for table in all.iter().flat_map(|projection| projection.tables()).chain(&["totals"]) {
        // A total that went back to nothing is the same as one that never was.
        let rows = if *table == "totals" { "where rows <> 0" } else { "" };
        let text =
            AssertSqlSafe(format!("select t::text from derived.{table} t {rows} order by 1"));
        let rows = sqlx::query_scalar(text).fetch_all(&mut *connection).await.unwrap();
        tables.push(((*table).to_owned(), rows));
    }
    tables
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn page_sizes_and_rebuilds_change_nothing(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(1_500)).await;
    let head = projector(&db, 7).catch_up().await.unwrap();
    let small = derived(&db).await;
    assert!(
        small.iter().all(|(table, rows)| !rows.is_empty() || table == "undecodables"),
        "an empty table proves nothing"
    );

    assert_eq!(db.store.rebuild(&[]).await.unwrap().len(), projections::all().len());
    assert_same(&derived(&db).await, &small);
    let marks = db.store.watermarks().await.unwrap();
    assert!(marks.iter().all(|mark| mark.rebuild.is_some() && mark.position == head));
    assert_eq!(projector(&db, 1_000).catch_up().await.unwrap(), head);
    assert_same(&derived(&db).await, &small);
    let marks = db.store.watermarks().await.unwrap();
    assert!(marks.iter().all(|mark| mark.rebuild.is_none() && !mark.stale));
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_page_is_as_large_as_what_it_keeps_in_memory(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(1_000)).await;
    let head = db.store.head().await.unwrap();
    let read = async |bytes| {
        let config = Config { bounds: PageBounds { envelopes: 1_000, bytes }, ..Config::default() };
        let projector = Projector::new(db.store.clone(), Arc::default(), config);
        projector.read(Position(0), head).await.unwrap().entries
    };
    // More messages than are read from the log at once, because decoded messages are not kept.
    let messages =
        |entries: &[Entry]| entries.iter().map(|e| i64::from(e.logged.size)).sum::<i64>();
    let held = |entries: &[Entry]| entries.iter().map(Entry::held).sum::<i64>();
    let all = read(1 << 20).await;
    assert_eq!(all.len(), 1_000);
    let bytes = held(&all) / 3;
    let part = read(bytes).await;
    assert!(part.len() < 1_000 && held(&part) >= bytes, "{} of {bytes}", held(&part));
    assert!(messages(&part) > bytes, "{} of {bytes}", messages(&part));
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn one_projection_is_rebuilt_beside_the_others_and_joins_them(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let envelopes = capture(900);
    append(&db, &envelopes[..600]).await;
    projector(&db, 100).catch_up().await.unwrap();
    db.store.rebuild(&["topics".to_owned()]).await.unwrap();
    append(&db, &envelopes[600..]).await;
    projector(&db, 100).catch_up().await.unwrap();
    let beside = derived(&db).await;
    db.store.rebuild(&[]).await.unwrap();
    projector(&db, 100).catch_up().await.unwrap();
    assert_same(&derived(&db).await, &beside);
    assert!(
        db.store
            .rebuild(&["nonsense".to_owned()])
            .await
            .unwrap_err()
            .to_string()
            .contains("contact_bundles")
    );
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn two_projectors_at_once_count_everything_once(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let envelopes = capture(1_200);
    let stop = CancellationToken::new();
    projector(&db, 50).prepare().await.unwrap();
    let runs: Vec<_> = (0..2).map(|_| tokio::spawn(projector(&db, 50).run(stop.clone()))).collect();
    append(&db, &envelopes).await;
    let head = db.store.head().await.unwrap();
    let reached = async {
        while !db.store.watermarks().await.unwrap().iter().all(|mark| mark.position == head) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reached).await.unwrap();
    stop.cancel();
    for run in runs {
        run.await.unwrap().unwrap();
    }
    let together = derived(&db).await;
    db.store.rebuild(&[]).await.unwrap();
    projector(&db, 4_000).catch_up().await.unwrap();
    assert_same(&derived(&db).await, &together);
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_projection_that_cannot_write_keeps_nobody_back(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(300)).await;
    db.execute("alter table derived.accounts add constraint broken check (last_seen_ns is null)")
        .await;
    let stop = CancellationToken::new();
    let run = tokio::spawn(projector(&db, 100).run(stop.clone()));
    let head = db.store.head().await.unwrap();
    let others = async {
        loop {
            let marks = db.store.watermarks().await.unwrap();
            if !marks.is_empty()
                && marks.iter().all(|mark| mark.name == "accounts" || mark.position == head)
                && marks.iter().any(|mark| mark.name == "accounts" && mark.error.is_some())
            {
                return marks;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let marks =
        tokio::time::timeout(Duration::from_secs(30), others).await.expect("the others go on");
    let stale: Vec<_> = marks.iter().filter(|mark| mark.stale).map(|mark| &mark.name).collect();
    assert_eq!(stale, ["accounts"]);
    assert_eq!(db.value::<i64>("select position from derived.served").await, head.0);
    assert_eq!(db.value::<Vec<String>>("select stale from derived.served").await, ["accounts"]);
    db.execute("alter table derived.accounts drop constraint broken").await;
    let mended = async {
        while !db.store.watermarks().await.unwrap().iter().all(|mark| mark.position == head) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), mended).await.expect("it comes back by itself");
    stop.cancel();
    run.await.unwrap().unwrap();
    assert!(db.value::<Vec<String>>("select stale from derived.served").await.is_empty());
    assert!(db.store.watermarks().await.unwrap().iter().all(|mark| mark.error.is_none()));
}

/// What held a projection back once does not fail a later `catch_up`.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn a_projection_that_was_held_back_is_forgiven(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    append(&db, &capture(300)).await;
    db.execute("alter table derived.accounts add constraint broken check (last_seen_ns is null)")
        .await;
    let mut projector = projector(&db, 100);
    let error = projector.catch_up().await.unwrap_err();
    assert!(error.to_string().contains("accounts"), "{error}");
    db.execute("alter table derived.accounts drop constraint broken").await;
    projector.held_back.values_mut().for_each(|held| held.until = Instant::now());
    let mut tries = 0;
    while projector.catch_up().await.is_err() {
        tries += 1;
        assert!(tries < 20, "still held back");
    }
    assert!(projector.held_back.is_empty());
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn the_rollup_equals_a_recount_whatever_the_times(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = TestDatabase::on(options).await;
    let mut envelopes = capture(800);
    for (nth, ns) in [0, 1, u64::MAX, 1 << 63].into_iter().enumerate() {
        envelopes[nth].timestamp_ns = ns;
    }
    append(&db, &envelopes).await;
    projector(&db, 70).catch_up().await.unwrap();
    for (table, bucket, ns) in [
        ("volume_minutes", "minute", 60_000_000_000_i64),
        ("volume_hours", "hour", 3_600_000_000_000),
    ] {
        let recount = format!(
            "select count(*) from (
                 select div(ground.ns(timestamp_ns), {ns})::integer as bucket, kind, topic_kind, generation,
                        count(*) as envelopes, sum(size)::bigint as bytes
                   from derived.envelopes group by 1, 2, 3, 4) r
               full join derived.{table} v
                 on (v.{bucket}, v.kind, v.topic_kind, v.generation) = (r.bucket, r.kind, r.topic_kind, r.generation)
              where v.envelopes is distinct from r.envelopes or v.bytes is distinct from r.bytes"
        );
        let wrong: i64 = db.value(&recount).await;
        assert_eq!(wrong, 0, "{table}");
    }
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn totals_and_volume_equal_a_recount_also_after_a_rebuild(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    use crate::read::{Split, VolumeFilter, Width};
    let db = TestDatabase::on(options).await;
    append(&db, &capture(1_000)).await;
    projector(&db, 90).catch_up().await.unwrap();
    db.store.rebuild(&["topics".to_owned(), "invites".to_owned()]).await.unwrap();
    projector(&db, 400).catch_up().await.unwrap();
    let snapshot = db.store.snapshot().await.unwrap();
    let totals = snapshot.totals().await.unwrap();
    let tables = [
        ("topic_names", totals.topics),
        ("accounts", totals.accounts),
        ("contact_bundles", totals.contact_bundles),
        ("invites", totals.invites),
        ("conversations", totals.conversations),
        ("welcomes", totals.welcomes),
    ];
    for (table, total) in tables {
        let rows: i64 = db.value(&format!("select count(*) from derived.{table}")).await;
        assert_eq!(i64::try_from(total).unwrap(), rows, "{table}");
        assert!(rows > 0, "an empty table proves nothing");
    }
    for width in [Width::Minute, Width::Hour, Width::Day, Width::Week] {
        for split in [Split::None, Split::Kind, Split::TopicKind, Split::Generation] {
            let end = width.bucket(u64::MAX) + 1;
            let rows =
                snapshot.volume(width, 0, end, split, &VolumeFilter::default()).await.unwrap();
            let (envelopes, bytes) =
                rows.iter().fold((0, 0), |sum, row| (sum.0 + row.envelopes, sum.1 + row.bytes));
            assert_eq!((envelopes, bytes), (1_000, totals.bytes), "{width:?} {split:?}");
        }
    }
    snapshot.close().await.unwrap();
}

/// Every row that a page changes is found by its key, however large the tables are: by the server's own counters.
#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn no_write_reads_a_table_from_end_to_end(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    let mut envelopes = capture(5_000);
    for (nth, envelope) in capture(5_000).into_iter().cycle().take(12_000).enumerate() {
        let topic = format!("/xmtp/0/m-{}/proto", nth / 3).into_bytes().into();
        let timestamp_ns = envelope.timestamp_ns + u64::try_from(nth).unwrap();
        envelopes.push(wire::Envelope { topic, timestamp_ns, ..envelope });
    }
    append(&db, &envelopes[..9_000]).await;
    projector(&db, 900).catch_up().await.unwrap();
    // With statistics, planners would know how small the tables are.
    db.execute("analyze").await;
    // What was counted while indexes were made does not count.
    db.execute("select pg_stat_reset()").await;
    append(&db, &envelopes[9_000..]).await;
    append(&db, &envelopes[8_000..9_500]).await;
    projector(&db, 900).catch_up().await.unwrap();
    db.store.close().await;
    let fresh = TestDatabase::on(db.options()).await;
    let scans =
        "select coalesce(string_agg(format('%s: %s scans', relid::regclass, seq_scan), ', '), '')
                   from pg_stat_user_tables t join pg_class c on c.oid = t.relid
                  where c.reltuples > 1000 and seq_scan > 0";
    assert_eq!(fresh.value::<String>(scans).await, "");
    let large = "select count(*) from pg_class where reltuples > 1000 and relkind = 'r' and relnamespace = 'derived'::regnamespace";
    assert!(fresh.value::<i64>(large).await >= 6);
}
