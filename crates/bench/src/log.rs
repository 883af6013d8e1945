//! `bench log`: what the order of the log costs.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use embedded::{Options, Services};
use serde_json::json;
use store::{Page, Store};
use wire::Envelope;

use crate::{limits, machine, workspace::Workspace};

/// Appends full pages with one, two and four appenders, in order (as the product does: the head's
/// row is held until the commit) and without any order (what a position by transaction snapshot
/// would allow at best), beside COPY alone.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Envelopes a run
    #[arg(long, default_value_t = 200_000)]
    envelopes: usize,
    /// Envelopes a page
    #[arg(long, default_value_t = 4_096)]
    page: usize,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the benchmark.
pub async fn run(args: Args, interrupted: impl Future<Output = ()>) -> anyhow::Result<()> {
    let options = Options { rabbitmq: false, ..Options::default() };
    let measured = async |services: &Services| measure(&args, services).await;
    let (copy, rows, lookups) =
        Workspace::new(None)?.with_services(options, interrupted, measured).await?;
    if args.json {
        let all =
            json!({ "copy": copy, "runs": rows, "lookups": lookups, "load1": machine::load() });
        println!("{all}");
        return Ok(());
    }
    println!();
    println!("  COPY alone                 {copy:>9.0} envelopes/s; load {}", machine::load());
    for (appenders, ordered, unordered) in rows {
        println!(
            "  {appenders} appender(s), in order      {ordered:>9.0} envelopes/s, {:.2} of COPY; without order {unordered:.0}: order keeps {:.2}",
            ordered / copy,
            ordered / unordered
        );
    }
    let [few, many] = lookups;
    println!(
        "  a message by its position  {:>9.0} us with {} partitions, {:.0} us with {}: {:.2} times",
        few.us,
        few.partitions,
        many.us,
        many.partitions,
        many.us / few.us
    );
    Ok(())
}

/// What it costs to find a message by its position.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Lookup {
    partitions: i64,
    us: f64,
}

/// Asks for messages one after another, as the API does for each that is shown.
async fn lookup(store: &Store, url: &str, ahead: i64) -> anyhow::Result<Lookup> {
    const QUESTIONS: i64 = 4_000;
    let partitions = store.partition_for(ahead).await?;
    let head = store.head().await?.0;
    let readers = store::Options { readers: true, ..store::Options::new(url) };
    let readers = Store::connect(readers).await?;
    let (mut began, mut found) = (Instant::now(), 0);
    for nth in -QUESTIONS / 4..QUESTIONS {
        if nth == 0 {
            began = Instant::now();
        }
        let position = store::Position(1 + nth.unsigned_abs().cast_signed() * 7919 % head);
        let snapshot = readers.single_statement().await?;
        found += snapshot.messages_at(&[position]).await?.len();
        snapshot.close().await?;
    }
    // Not those of private stores.
    anyhow::ensure!(found > 4_000 / 2, "no messages");
    Ok(Lookup { partitions, us: began.elapsed().as_secs_f64() * 1e6 / QUESTIONS as f64 })
}

async fn measure(
    args: &Args,
    services: &Services,
) -> anyhow::Result<(f64, Vec<(usize, f64, f64)>, [Lookup; 2])> {
    let url = services.local_postgres_url().context("no database")?;
    let store = Store::connect(store::Options::new(url)).await?;
    store.migrate().await?;
    store.extend_partitions().await?;
    let envelopes = limits::envelopes(args.envelopes);
    let rate = |took: Duration| envelopes.len() as f64 / took.as_secs_f64();
    let began = Instant::now();
    store.copy_limit(&envelopes, args.page).await?;
    let copy = rate(began.elapsed());
    let mut rows = Vec::new();
    for (round, appenders) in [1, 2, 4].into_iter().enumerate() {
        let mut rates = [0.0; 2];
        for (which, ordered) in [true, false].into_iter().enumerate() {
            // Each run appends envelopes of its own: duplicates would be free.
            let shift = u64::try_from(round * 2 + which)? + 1;
            rates[which] =
                rate(append(&store, &envelopes, shift, args.page, appenders, ordered).await?);
        }
        rows.push((appenders, rates[0], rates[1]));
    }
    let few = lookup(&store, url, 0).await?;
    let many = lookup(&store, url, 75 * 2_000_000).await?;
    Ok((copy, rows, [few, many]))
}

async fn append(
    store: &Store,
    envelopes: &[Envelope],
    shift: u64,
    page: usize,
    appenders: usize,
    ordered: bool,
) -> anyhow::Result<Duration> {
    let pages: Vec<Page> = envelopes
        .chunks(page)
        .map(|part| {
            let shifted =
                part.iter().map(|e| Envelope { timestamp_ns: e.timestamp_ns + shift, ..e.clone() });
            limits::page(shifted)
        })
        .collect();
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for appender in 0..appenders {
        let store = store.clone();
        let mine: Vec<Page> = pages.iter().skip(appender).step_by(appenders).cloned().collect();
        tasks.spawn(async move {
            for page in mine {
                match ordered {
                    true => store.append(std::slice::from_ref(&page)).await.map(|_| ())?,
                    false => store.append_unordered(std::slice::from_ref(&page)).await?,
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(began.elapsed())
}
