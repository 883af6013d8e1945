//! The welcomes of a capture of official V3 clients: through the log into the table, equal to the truth about them.

use std::io::Read as _;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::Value;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{
    super::*,
    ALL, append,
    paging::{check, some},
    parents, project,
};
use crate::{log::Position, testing::TestDatabase};

fn lines(name: &str) -> Vec<String> {
    let path = format!("{}/../devnet/captures/v3-a/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(path).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text.lines().map(str::to_owned).collect()
}

async fn indexed(options: PgConnectOptions) -> TestDatabase {
    let db = TestDatabase::on(options).await;
    let envelopes: Vec<_> = lines("welcomes.ndjson.gz")
        .iter()
        .map(|line| wire::json::from_line(line).unwrap())
        .collect();
    // Each twice: the second copy adds no row.
    for _ in 0..2 {
        append(&db, envelopes.clone()).await;
    }
    project(&db).await;
    db
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn welcomes_equal_the_truth(_: PgPoolOptions, options: PgConnectOptions) {
    let db = indexed(options).await;
    let snapshot = db.store.snapshot().await.unwrap();
    let truth: Vec<Value> = lines("welcomes.truth.ndjson.gz")
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let all = WelcomeFilter::default();
    let head = snapshot.head();
    let rows = snapshot.welcomes_since(&all, Position(0), head, ALL).await.unwrap().rows;
    assert_eq!((rows.len(), truth.len()), (148, 148));
    assert_eq!(snapshot.totals().await.unwrap().welcomes, 148);
    let positions: Vec<_> = rows.iter().map(|row| row.position).collect();
    let envelopes = snapshot.envelopes_by_position(&positions).await.unwrap();
    for (row, truth) in rows.iter().zip(&truth) {
        let key = row.installation.iter().map(|b| format!("{b:02x}")).collect::<String>();
        assert_eq!(key, truth["installationId"]);
        assert_eq!(row.is_pointer, truth["form"] == "welcome_pointer");
        assert_eq!(i64::from(row.wrapper_algorithm.code()), truth["wrapperAlgorithm"]);
        assert_eq!(row.hpke_public_key.is_none(), truth["wrapperAlgorithm"] == 3);
        let envelope = envelopes.iter().find(|e| e.position == row.position).unwrap();
        assert_eq!((row.digest, row.published_ns), (envelope.digest, envelope.timestamp_ns));
        assert!(0 < row.size && row.size < envelope.size);
    }
    let mut found = snapshot.welcomes_by_position(&positions).await.unwrap();
    found.sort_by_key(|row| row.position);
    assert!(found == rows);
    snapshot.close().await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn pages_and_tails_of_welcomes_give_each_once_in_order(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let snapshot = db.store.snapshot().await.unwrap();
    let head = snapshot.head();
    let all = WelcomeFilter::default();
    let rows = snapshot.welcomes_since(&all, Position(0), head, ALL).await.unwrap().rows;
    let random = &mut StdRng::seed_from_u64(3);
    for _ in 0..40 {
        let time = |random: &mut StdRng| rows.choose(random).unwrap().published_ns;
        let filter = WelcomeFilter {
            installation: some(random, |random| rows.choose(random).unwrap().installation),
            after: some(random, time),
            before: some(random, time),
        };
        let count = snapshot.count_welcomes(&filter).await.unwrap();
        let keeps = |w: &Welcome| {
            filter.installation.is_none_or(|key| w.installation == key)
                && filter.after.is_none_or(|ns| w.published_ns >= ns)
                && filter.before.is_none_or(|ns| w.published_ns < ns)
        };
        check(random, &rows, &[TimeOrder], keeps, count, async |request| {
            snapshot.welcomes(&filter, &request).await.unwrap()
        })
        .await;

        let after = Position(random.random_range(0..head.0));
        let tail = snapshot.welcomes_since(&filter, after, head, 7).await.unwrap();
        let wanted: Vec<_> = rows
            .iter()
            .filter(|row| row.position > after && filter.matches(row) && keeps(row))
            .cloned()
            .collect();
        assert!(tail.rows == wanted[..wanted.len().min(7)]);
        assert_eq!(tail.has_more, wanted.len() > 7);
    }
    snapshot.close().await.unwrap();
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn welcomes_of_many_installations_are_those_of_each(
    _: PgPoolOptions,
    options: PgConnectOptions,
) {
    let db = indexed(options).await;
    let at = db.store.snapshot().await.unwrap();
    let all = PageRequest::first(TimeOrder, true, ALL);
    let rows = at.welcomes(&WelcomeFilter::default(), &all).await.unwrap().rows;
    let installations: Vec<_> = rows.iter().map(|row| row.installation).collect();
    let middle = Some(rows[rows.len() / 2].published_ns);
    let random = &mut StdRng::seed_from_u64(4);
    for (after, before) in [(None, None), (middle, None), (None, middle)] {
        let filter = WelcomeFilter { installation: None, after, before };
        parents::check(
            random,
            &installations,
            &[TimeOrder],
            async |keys, request| at.welcomes_of(keys, &filter, &request).await.unwrap(),
            async |key, request| {
                let filter = WelcomeFilter { installation: Some(key), ..filter.clone() };
                at.welcomes(&filter, &request).await.unwrap()
            },
            async |keys| at.count_welcomes_of(keys, &filter).await.unwrap(),
        )
        .await;
    }
    at.close().await.unwrap();
}
