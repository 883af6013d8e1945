use std::io::Read;

use super::*;
use crate::{append::Page, testing::TestDatabase};

fn capture(limit: usize) -> Vec<wire::Envelope> {
    // The welcomes come first, so that no part of the capture is without them.
    let mut all = envelopes("v3-old/welcomes.ndjson.gz");
    all.extend(envelopes("legacy-a/envelopes.ndjson.gz"));
    all.truncate(limit);
    all
}

fn envelopes(name: &str) -> Vec<wire::Envelope> {
    let path = format!("{}/../../tests/captures/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text.lines().map(|line| wire::json::from_line(line).unwrap()).collect()
}

async fn append(db: &TestDatabase, envelopes: &[wire::Envelope]) {
    for part in envelopes.chunks(500) {
        let page = Page { source: "capture".into(), cursor: None, envelopes: part.to_vec() };
        db.store.append(&[page]).await.unwrap();
    }
}

fn projector(db: &TestDatabase, page: i64) -> Projector {
    let bounds = PageBounds { envelopes: page, bytes: 1 << 20 };
    let config = Config { bounds, poll: Duration::from_millis(5) };
    Projector::new(db.store.clone(), Arc::new(Verifier::new(1024)), config)
}

/// Every row of every derived table as text, each table in the order of its key.
async fn derived(db: &TestDatabase) -> Vec<(String, Vec<String>)> {
    let client = db.store.client().await.unwrap();
    let mut tables = Vec::new();
    for projection in projections::all() {
        for table in projection.tables() {
            let rows = client
                .query(&format!("select t::text from {table} t order by 1"), &[])
                .await
                .unwrap();
            tables.push(((*table).to_owned(), rows.iter().map(|row| row.get(0)).collect()));
        }
    }
    tables
}

#[tokio::test]
async fn page_sizes_and_rebuilds_change_nothing() {
    let db = TestDatabase::migrated().await;
    append(&db, &capture(1_500)).await;
    let head = projector(&db, 7).catch_up().await.unwrap();
    let small = derived(&db).await;
    assert!(
        small.iter().all(|(table, rows)| !rows.is_empty() || table == "derived.undecodables"),
        "an empty table proves nothing"
    );

    assert_eq!(db.store.rebuild(&[]).await.unwrap().len(), projections::all().len());
    assert!(derived(&db).await.iter().all(|(_, rows)| rows.is_empty()));
    assert!(
        db.store
            .watermarks()
            .await
            .unwrap()
            .iter()
            .all(|mark| mark.rebuilding && mark.position == Position(0))
    );
    assert_eq!(projector(&db, 1_000).catch_up().await.unwrap(), head);
    assert_eq!(derived(&db).await, small);
    assert!(db.store.watermarks().await.unwrap().iter().all(|mark| !mark.rebuilding));
}

#[tokio::test]
async fn one_projection_is_rebuilt_beside_the_others_and_joins_them() {
    let db = TestDatabase::migrated().await;
    let envelopes = capture(900);
    append(&db, &envelopes[..600]).await;
    projector(&db, 100).catch_up().await.unwrap();
    db.store.rebuild(&["topics".to_owned()]).await.unwrap();
    append(&db, &envelopes[600..]).await;
    projector(&db, 100).catch_up().await.unwrap();
    let beside = derived(&db).await;
    db.store.rebuild(&[]).await.unwrap();
    projector(&db, 100).catch_up().await.unwrap();
    assert_eq!(derived(&db).await, beside);
    assert!(
        db.store
            .rebuild(&["nonsense".to_owned()])
            .await
            .unwrap_err()
            .to_string()
            .contains("contact_bundles")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn two_projectors_at_once_count_everything_once() {
    let db = TestDatabase::migrated().await;
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
    assert_eq!(derived(&db).await, together);
}

#[tokio::test]
async fn a_projection_that_cannot_write_keeps_nobody_back() {
    let db = TestDatabase::migrated().await;
    append(&db, &capture(300)).await;
    let client = db.store.client().await.unwrap();
    client
        .batch_execute(
            "alter table derived.accounts add constraint broken check (last_seen_ns is null)",
        )
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let run = tokio::spawn(projector(&db, 100).run(stop.clone()));
    let head = db.store.head().await.unwrap();
    let others = async {
        loop {
            let marks = db.store.watermarks().await.unwrap();
            if !marks.is_empty()
                && marks.iter().all(|mark| mark.name == "accounts" || mark.position == head)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), others).await.expect("the others go on");
    client.batch_execute("alter table derived.accounts drop constraint broken").await.unwrap();
    let mended = async {
        while !db.store.watermarks().await.unwrap().iter().all(|mark| mark.position == head) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), mended).await.expect("it comes back by itself");
    stop.cancel();
    run.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_raised_version_rebuilds_and_a_lowered_one_is_left_alone() {
    let db = TestDatabase::migrated().await;
    append(&db, &capture(200)).await;
    projector(&db, 100).catch_up().await.unwrap();
    let before = derived(&db).await;
    let client = db.store.client().await.unwrap();
    client
        .batch_execute("update derived.watermarks set version = 0 where name = 'topics'; update derived.topic_counts set envelope_count = 0")
        .await
        .unwrap();
    projector(&db, 100).catch_up().await.unwrap();
    assert_eq!(derived(&db).await, before);

    client
        .batch_execute(
            "update derived.watermarks set version = 99, position = 5 where name = 'topics'",
        )
        .await
        .unwrap();
    let mut old = projector(&db, 100);
    old.prepare().await.unwrap();
    while old.round().await.unwrap() {}
    let marks = db.store.watermarks().await.unwrap();
    assert_eq!(marks.iter().find(|mark| mark.name == "topics").unwrap().position, Position(5));
}

#[tokio::test]
async fn the_rollup_equals_a_recount_whatever_the_times() {
    let db = TestDatabase::migrated().await;
    let mut envelopes = capture(800);
    for (nth, ns) in [0, 1, u64::MAX, 1 << 63].into_iter().enumerate() {
        envelopes[nth].timestamp_ns = ns;
    }
    append(&db, &envelopes).await;
    projector(&db, 70).catch_up().await.unwrap();
    let client = db.store.client().await.unwrap();
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
        let wrong: i64 = client.query_one(&recount, &[]).await.unwrap().get(0);
        assert_eq!(wrong, 0, "{table}");
    }
}

#[tokio::test]
async fn totals_and_volume_equal_a_recount_also_after_a_rebuild() {
    use crate::read::{Split, VolumeFilter, Width};
    let db = TestDatabase::migrated().await;
    append(&db, &capture(1_000)).await;
    projector(&db, 90).catch_up().await.unwrap();
    db.store.rebuild(&["topics".to_owned(), "invites".to_owned()]).await.unwrap();
    projector(&db, 400).catch_up().await.unwrap();
    let client = db.store.client().await.unwrap();
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
        let rows: i64 = client
            .query_one(&format!("select count(*) from derived.{table}"), &[])
            .await
            .unwrap()
            .get(0);
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
