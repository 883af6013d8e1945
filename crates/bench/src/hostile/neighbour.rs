//! Somebody who behaves, and how long he waits for answers.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::latency::ask;

/// What ordinary callers ask for.
const QUERIES: [&str; 3] = [
    "{ status { network envelopeCount } }",
    "{ invites(first: 20) { nodes { createdAt verification sender { address } recipient { address } } } }",
    "query($after: String) { envelopes(first: 50, after: $after) { nodes { timestamp kind topic { name } } pageInfo { endCursor } } }",
];
/// The pause between an answer and the next question.
const PAUSE: Duration = Duration::from_millis(5);

/// Milliseconds.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Waits {
    /// Answers.
    pub answers: usize,
    /// Half are faster.
    pub p50: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
}

/// Asks for so long, one question after the other; each must be answered. He has a thread of his own: what others do in
/// this process is not what he waits for.
pub async fn measure(graphql: &str, span: Duration) -> anyhow::Result<Waits> {
    let graphql = graphql.to_owned();
    let asking = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(asks(&graphql, span))
    });
    asking.await?
}

async fn asks(graphql: &str, span: Duration) -> anyhow::Result<Waits> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let (mut times, mut after, began) = (Vec::new(), Value::Null, Instant::now());
    for query in QUERIES.into_iter().cycle() {
        if began.elapsed() >= span {
            break;
        }
        let asked = Instant::now();
        let mut answer = ask(&client, graphql, query, json!({ "after": after })).await?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
        if let Some(page) = answer.get_mut("envelopes") {
            after = page["pageInfo"]["endCursor"].take();
        }
        tokio::time::sleep(PAUSE).await;
    }
    anyhow::ensure!(!times.is_empty(), "nothing was answered");
    times.sort_by(f64::total_cmp);
    let share = |part: f64| times[(((times.len() - 1) as f64) * part) as usize];
    Ok(Waits { answers: times.len(), p50: share(0.5), p99: share(0.99) })
}
