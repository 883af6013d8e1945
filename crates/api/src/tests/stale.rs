//! Projections that cannot write their rows: answers name them, and subscriptions wait for them without missing anything.

use std::{collections::HashSet, sync::Arc, time::Duration};

use serde_json::{Value, json};
use store::{Projector, projector::Config};
use tokio_util::sync::CancellationToken;
use wire::Verifier;

use super::{
    fixture::{Indexed, capture},
    live::events,
    server::Serving,
};
use crate::Exposure;

const STATUS: &str = "{ status { projections { name stale error rebuilding } } }";

fn projection(data: &Value, name: &str) -> Value {
    let all = data["status"]["projections"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap().clone()
}

#[tokio::test]
async fn answers_name_what_is_stale_and_say_nothing_when_nothing_is() {
    let indexed = Indexed::with(capture().into_iter().take(50).collect()).await;
    let answer = indexed.answer(STATUS, json!({})).await;
    assert_eq!(answer.extensions.get("stale"), None);
    let fresh = json!({ "name": "invites", "stale": false, "error": null, "rebuilding": false });
    assert_eq!(projection(&answer.data, "invites"), fresh);
    indexed
        .execute(
            "update derived.served set stale = '{invites}';
             update derived.watermarks set error = 'the disk is full' where name = 'invites'",
        )
        .await;
    // In a single-statement read and in a transaction.
    for query in ["{ topics { nodes { name } } }", STATUS] {
        assert_eq!(indexed.answer(query, json!({})).await.extensions["stale"], json!(["invites"]));
    }
    let data = indexed.ask(STATUS, json!({})).await;
    let stale = json!({ "name": "invites", "stale": true, "error": "its rows cannot be written", "rebuilding": false });
    assert_eq!(projection(&data, "invites"), stale);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_waits_for_its_table_and_misses_nothing() {
    let mut envelopes: Vec<_> = capture().into_iter().take(900).collect();
    let later = envelopes.split_off(300);
    let indexed = Indexed::with(envelopes).await;
    let list = "query($first: Int, $after: String) { invites(first: $first, after: $after) {
        nodes { id } pageInfo { hasNextPage endCursor } } }";
    let ids = async || -> HashSet<String> {
        indexed.all(list, 500).await.iter().map(|node| node["id"].to_string()).collect()
    };
    let before = ids().await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let addr = serving.addr;
    let follow = |query: &'static str, total: usize| {
        tokio::spawn(async move {
            let (mut told, variables) = (Vec::new(), json!({}));
            let enough = |told: &[Value]| told.len() >= total;
            let following = events(addr, query, &variables, &mut told, enough);
            let _ = tokio::time::timeout(Duration::from_secs(20), following).await;
            told
        })
    };
    let identities = later.iter().map(|e| (e.digest(), e.timestamp_ns)).collect::<HashSet<_>>();
    let live = follow("subscription { envelopes { node { digest } } }", identities.len());
    let invites = follow("subscription { invites { node { id } } }", usize::MAX);
    tokio::time::sleep(Duration::from_millis(1_000)).await;

    indexed.execute("alter table derived.invites rename to away").await;
    let stop = CancellationToken::new();
    let projector =
        Projector::new(indexed.store.clone(), Arc::new(Verifier::default()), Config::default());
    let projecting = tokio::spawn(projector.run(stop.clone()));
    indexed.append(later.into_iter().map(Into::into).collect()).await;
    assert_eq!(live.await.unwrap().len(), identities.len(), "other tables go on");
    let data = indexed.ask(STATUS, json!({})).await;
    assert_eq!(projection(&data, "invites")["stale"], true);
    indexed.execute("alter table derived.away rename to invites").await;

    let told: Vec<String> =
        invites.await.unwrap().iter().map(|edge| edge["node"]["id"].to_string()).collect();
    stop.cancel();
    projecting.await.unwrap().unwrap();
    let mut wanted = ids().await;
    wanted.retain(|id| !before.contains(id));
    assert!(wanted.len() > 5, "{}", wanted.len());
    assert_eq!(told.len(), wanted.len());
    assert_eq!(told.into_iter().collect::<HashSet<_>>(), wanted);
    serving.end().await;
}
