//! What clients publish meanwhile, and what of it can be known in the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    nodes::{Death, Nodes},
    patience::LONG,
    tables::{self, Database, Identity},
    traffic::Traffic,
    world::World,
};
use tokio_util::sync::CancellationToken;

/// Publications a second. Some are of two envelopes or three.
const RATE: u32 = 300;
/// So many envelopes are enough. Where all of this takes longer, fewer come from then on.
const ENOUGH: usize = 25_000;
/// How many sources have read back every topic that is known.
const READ_BACK: &str = "select count(*) from ground.progress
     where shard = 'read-back-to' and upto >= (select max(first_position) from derived.topic_names)";

/// Until when everything that a node relayed is in the log or the queue, whichever node it was. `None` when the database is
/// away.
pub(crate) async fn safe_until(url: &str) -> Option<u64> {
    let statement =
        "select coalesce(min(upto), 0) from ground.progress where shard = 'whole-until'";
    let ns = tables::glance(url, statement).await?;
    Some(ns.try_into().unwrap())
}

/// Publishes until told to stop.
pub(crate) async fn publish(
    mut nodes: Nodes,
    mut traffic: Traffic,
    stop: CancellationToken,
) -> Nodes {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while !stop.is_cancelled() || nodes.is_in_trouble() {
        tick.tick().await;
        match stop.is_cancelled() {
            true => nodes.heal().await,
            false => nodes.suffer().await,
        }
        let now = if nodes.len() < ENOUGH { RATE / 50 } else { 1 };
        for _ in 0..now {
            nodes.publish(traffic.next(crate::now_ns()));
        }
    }
    nodes
}

/// Waits until the log has everything that can be known, and nothing more is on its way. Gives what it has.
pub(crate) async fn all_that_can_be_known(
    world: &mut World,
    nodes: &Nodes,
    deaths: &[Death],
    database: &Database,
) -> BTreeSet<Identity> {
    let graph = world.graph().clone();
    let published = nodes.distinct();
    let began = Instant::now();
    loop {
        world.program().must_run();
        let query = "{ status { sources { connected gaps { shard } } } }";
        let answer = graph.ask(query, Value::Null).await;
        let sources = answer["status"]["sources"].as_array().unwrap().clone();
        // A gap in which topics may have been born and ended stays reported; all others are closed.
        let gaps = |source: &Value| -> Vec<bool> {
            let gaps = source["gaps"].as_array().unwrap().iter();
            gaps.map(|gap| gap["shard"] == json!("unnamed")).collect()
        };
        let whole = |source: &Value| {
            source["connected"] == json!(true) && gaps(source).iter().all(|unnamed| *unnamed)
        };
        let reported = sources.iter().all(|source| !gaps(source).is_empty());
        let repaired = sources.len() == 2 && sources.iter().all(whole);
        let progress = tests::world::progress(&graph).await.unwrap();
        assert_eq!(progress.parked, 0);
        let log: BTreeSet<Identity> = database.log().await.into_iter().collect();
        let missing: BTreeSet<Identity> = published.difference(&log).copied().collect();
        let unknowable = nodes.unknowable(deaths, database).await;
        // Who heard one envelope of a topic knows its name.
        let excused: BTreeSet<Identity> = unknowable
            .values()
            .filter(|topic| topic.is_disjoint(&log))
            .flatten()
            .copied()
            .collect();
        let lost = missing.difference(&excused).count();
        let settled = progress.queued_pages == Some(0) && progress.lag == 0;
        // Every topic that is known was read from its beginning, by both.
        let read_back = database.number(READ_BACK).await == 2;
        if lost == 0 && settled && repaired && read_back && progress.visible == log.len() as u64 {
            let found = nodes.found_later(&log);
            eprintln!(
                "{} topics cannot be known, {} envelopes of them are missing; {found} topics were born unheard and found",
                unknowable.len(),
                missing.len()
            );
            assert!(found > 0, "no topic was born in a gap");
            assert!(
                missing.is_empty() || reported,
                "{} are missing and no gap is reported: {sources:?}",
                missing.len()
            );
            assert!(missing.len() < published.len() / 20, "the rule excuses {}", missing.len());
            return log;
        }
        if began.elapsed() > 2 * LONG {
            let examples = nodes.sent_of(&missing.difference(&excused).copied().collect());
            let topics: BTreeMap<_, _> =
                examples.iter().map(|one| (&one.topic, one.timestamp_ns)).collect();
            panic!(
                "{lost} are missing, repaired {repaired}, read back {read_back}, {progress:?}, {sources:?}, such as {:?}",
                topics.into_iter().take(5).collect::<Vec<_>>()
            );
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
