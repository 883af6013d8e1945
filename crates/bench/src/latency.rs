//! From an envelope's publication to its being visible in GraphQL.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::{Value, json};

/// Milliseconds at these shares.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Latency {
    /// Envelopes looked at.
    pub samples: usize,
    /// Half are faster.
    pub p50: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
    /// The slowest.
    pub max: f64,
}

const QUERY: &str = "query($after: String) { envelopes(first: 500, after: $after) {
    edges { cursor node { timestampNs } } pageInfo { endCursor } } }";

/// Reads the log through GraphQL as fast as it comes, for so long; the generator stamps an envelope when it publishes it.
pub async fn measure(graphql: &str, span: Duration) -> anyhow::Result<Latency> {
    let client = reqwest::Client::new();
    let mut after =
        ask(&client, graphql, "{ status { head } }", json!({})).await?["status"]["head"]
            .as_str()
            .map(str::to_owned);
    let mut times = Vec::new();
    let began = Instant::now();
    while began.elapsed() < span {
        let answer = ask(&client, graphql, QUERY, json!({ "after": after })).await?;
        let now = now_ns();
        let edges = answer["envelopes"]["edges"].as_array().cloned().unwrap_or_default();
        for edge in &edges {
            let at: u64 = edge["node"]["timestampNs"]
                .as_str()
                .and_then(|ns| ns.parse().ok())
                .context("no timestampNs")?;
            times.push(now.saturating_sub(at) as f64 / 1e6);
        }
        match answer["envelopes"]["pageInfo"]["endCursor"].as_str() {
            Some(cursor) if !edges.is_empty() => after = Some(cursor.to_owned()),
            _ => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    anyhow::ensure!(!times.is_empty(), "nothing became visible");
    times.sort_by(f64::total_cmp);
    let share = |part: f64| times[(((times.len() - 1) as f64) * part) as usize];
    Ok(Latency { samples: times.len(), p50: share(0.5), p99: share(0.99), max: share(1.0) })
}

/// One GraphQL request; an error in the answer is an error here.
pub async fn ask(
    client: &reqwest::Client,
    graphql: &str,
    query: &str,
    variables: Value,
) -> anyhow::Result<Value> {
    let body = json!({ "query": query, "variables": variables });
    let mut answer: Value = client.post(graphql).json(&body).send().await?.json().await?;
    anyhow::ensure!(answer.get("errors").is_none(), "GraphQL refused: {}", answer["errors"]);
    Ok(answer["data"].take())
}

fn now_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}
