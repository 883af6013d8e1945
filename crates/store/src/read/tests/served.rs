//! Up to where readers see, while watermarks move.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

use crate::{database::Store, log::Position, projections, testing::TestDatabase, watermarks};

const RIGHT: &str =
    "select served.position = derived.slowest(), served.position from derived.served";

async fn served(store: &Store) -> i64 {
    let row = store.client().await.unwrap().query_one(RIGHT, &[]).await.unwrap();
    assert!(row.get::<_, bool>(0), "{row:?}");
    row.get(1)
}

/// Moves watermarks as projectors do.
async fn move_them(store: &Store, seed: u64, names: &[&str]) {
    let mut dice = SmallRng::seed_from_u64(seed);
    let mut client = store.client().await.unwrap();
    for _ in 0..150 {
        let some: Vec<&str> = names.choose_multiple(&mut dice, 3).copied().collect();
        let to = Position(dice.random_range(0..1_000));
        let tx = client.transaction().await.unwrap();
        watermarks::lock(&tx, &some).await.unwrap();
        watermarks::advance(&tx, &some, to).await.unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_see_as_far_as_the_slowest_whoever_moves_it() {
    let db = TestDatabase::migrated().await;
    assert_eq!(served(&db.store).await, 0);
    let all = projections::all();
    db.store.prepare_watermarks(&all).await.unwrap();
    let names: Vec<&'static str> = all.iter().map(|projection| projection.name()).collect();
    let (names, done) = (Arc::new(names), Arc::new(AtomicUsize::new(0)));
    let movers = (0..4).map(|seed| {
        let (store, names, done) = (db.store.clone(), names.clone(), done.clone());
        tokio::spawn(async move {
            move_them(&store, seed, &names).await;
            done.fetch_add(1, Ordering::Relaxed);
        })
    });
    let movers: Vec<_> = movers.collect();
    let mut seen = std::collections::BTreeSet::new();
    while done.load(Ordering::Relaxed) < 4 {
        seen.insert(served(&db.store).await);
        // One that failed would never be done.
        assert!(
            movers.iter().filter(|mover| mover.is_finished()).count()
                <= done.load(Ordering::Relaxed)
        );
    }
    for mover in movers {
        mover.await.unwrap();
    }
    assert!(seen.len() > 10, "{seen:?}");

    let client = db.store.client().await.unwrap();
    let set = "update derived.watermarks set position = 7";
    client.batch_execute(set).await.unwrap();
    assert_eq!(served(&db.store).await, 7);
    for projection in &all {
        let back = "update derived.watermarks set position = 3 where name = $1";
        client.execute(back, &[&projection.name()]).await.unwrap();
        // Volume is shown as of its own watermark.
        let wanted = if projection.name() == "volume" { 7 } else { 3 };
        assert_eq!(served(&db.store).await, wanted, "{}", projection.name());
        client.batch_execute(set).await.unwrap();
    }
    client.batch_execute("delete from derived.served").await.unwrap();
    client.batch_execute(set).await.unwrap();
    assert_eq!(served(&db.store).await, 7, "it comes back by itself");
    assert_eq!(db.store.present().await.unwrap(), Position(7));
    client.batch_execute("update ground.head set position = 9").await.unwrap();
    db.store.rebuild(&["topics".to_owned()]).await.unwrap();
    assert_eq!(served(&db.store).await, 0);
    // What comes back is no news.
    assert_eq!(db.store.present().await.unwrap(), Position(9));
    client.batch_execute("update derived.watermarks set rebuild_to = 0").await.unwrap();
    client.batch_execute(set).await.unwrap();
    client.batch_execute("delete from derived.watermarks where name = 'welcomes'").await.unwrap();
    assert_eq!(served(&db.store).await, 0);
    db.store.prepare_watermarks(&all).await.unwrap();
    client.batch_execute(set).await.unwrap();
    assert_eq!(served(&db.store).await, 7);
    client.batch_execute("truncate derived.watermarks").await.unwrap();
    assert_eq!(served(&db.store).await, 0);
}
