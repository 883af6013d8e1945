//! `bench ingest`: the main job as a whole.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use embedded::{Options, Services};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use store::Store;

use crate::{
    child::{Process, Program},
    latency::{self, Latency},
    limits::{self, Limits},
    machine,
    workspace::Workspace,
};

/// Drives generated legacy traffic from a node through RabbitMQ into the log and the projections,
/// signatures verified, and prints rates beside the limits measured in the same run.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How many envelopes to drive as fast as they go
    #[arg(long, default_value_t = 1_000_000)]
    envelopes: u64,
    /// How many topics they stand on, about
    #[arg(long, default_value_t = 200_000)]
    topics: usize,
    /// How many envelopes the limits are measured with
    #[arg(long, default_value_t = 200_000)]
    limit_envelopes: usize,
    /// Envelopes a second while latency is measured
    #[arg(long, default_value_t = 1_000)]
    latency_rate: u32,
    /// How long latency is measured, in seconds
    #[arg(long, default_value_t = 20)]
    latency_seconds: u64,
    /// Where the benchmark keeps its files while it runs [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// What the flood showed.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Flood {
    envelopes: u64,
    seconds: f64,
    rate: f64,
    slowest_tenth: f64,
    program_peak_mib: u64,
    program_cpu_us: f64,
    services_cpu_us: f64,
    node_cpu_us: f64,
    /// MiB of WAL, and of disk, for a million envelopes.
    wal_mib: f64,
    disk_mib: f64,
}

/// What PostgreSQL says of a flood.
#[derive(Clone, Debug, serde::Serialize)]
struct Statements {
    /// Microseconds of statements an envelope, in all and by table.
    us: f64,
    by_table: Vec<(String, f64)>,
    /// Tables of more than a thousand rows that were read from end to end.
    scanned: Vec<(String, i64)>,
}

/// Runs the benchmark.
pub async fn run(
    args: Args,
    program: &Program,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let workspace = Workspace::new(args.folder.clone())?;
    let measured = async |services: &Services| {
        measure(&Run { args: &args, program, folder: workspace.folder(), services }).await
    };
    let (limits, flood, statements, latency) =
        workspace.with_services(counting(), interrupted, measured).await?;
    match args.json {
        true => println!(
            "{}",
            json!({ "limits": limits, "flood": flood, "statements": statements, "latency": latency,
                    "load1": machine::load() })
        ),
        false => show(&args, &limits, &flood, &statements, &latency),
    }
    Ok(())
}

/// PostgreSQL counts what its statements take.
fn counting() -> Options {
    let library = ("shared_preload_libraries", "pg_stat_statements".to_owned());
    Options { postgres_settings: vec![library], ..Options::default() }
}

/// One run of the benchmark.
struct Run<'a> {
    args: &'a Args,
    program: &'a Program,
    folder: &'a Path,
    services: &'a Services,
}

async fn measure(run: &Run<'_>) -> anyhow::Result<(Limits, Flood, Statements, Latency)> {
    let Run { args, folder, services, .. } = *run;
    let database = services.local_postgres_url().context("no database")?.to_owned();
    let broker = services.open_amqp(async |url| anyhow::Ok(url.to_owned())).await?;
    let store = Store::connect(store::Options::new(&database)).await?;
    store.migrate().await?;
    store.extend_partitions().await?;
    eprintln!("  load {}, fdatasync {:.2} ms", machine::load(), machine::fdatasync_ms(folder)?);

    eprintln!("  … limits");
    let limits = limits::measure(&store, &broker, args.limit_envelopes).await?;
    let place = Place { run, store: &store, database: &database, broker: &broker };
    let (flood, statements) = flood(&place).await?;
    eprintln!("  … latency at {} envelopes a second", args.latency_rate);
    let environment =
        [("DATABASE_URL", database.as_str()), ("AMQP_URL", broker.as_str()), ("RUST_LOG", "warn")];
    let rate = args.latency_rate.to_string();
    let (node, url) = run.start_node(&["--generate", &rate, "--seed", "2"]).await?;
    let (up, graphql) = run.start_up(&url, &environment).await?;
    // The generator first registers its wallets; that is not what is measured.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let latency = latency::measure(&graphql, Duration::from_secs(args.latency_seconds)).await;
    up.stop().await?;
    node.stop().await?;
    Ok((limits, flood, statements, latency?))
}

impl Run<'_> {
    async fn start_node(&self, more: &[&str]) -> anyhow::Result<(Process, String)> {
        let mut args = vec!["devnet", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        args.extend(more);
        let mut node =
            self.program.start(&args, &[("RUST_LOG", "warn")], &self.folder.join("node.log"))?;
        let url = node.word_behind("gRPC").await?;
        Ok((node, url))
    }

    async fn start_up(
        &self,
        node: &str,
        environment: &[(&str, &str)],
    ) -> anyhow::Result<(Process, String)> {
        let data = self.folder.join("up");
        let source = format!("message-api={node}");
        let args = [
            "up",
            "--source",
            &source,
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            &data.display().to_string(),
            "--set",
            "network=bench",
        ];
        let mut up = self.program.start(&args, environment, &self.folder.join("up.log"))?;
        let graphql = up.word_behind("GraphQL").await?;
        Ok((up, graphql))
    }
}

/// A progress bar on a terminal; silent on a pipe.
fn bar(what: &str, total: u64) -> anyhow::Result<ProgressBar> {
    let template = format!("{{bar:30}} {{human_pos}} of {{human_len}} {what}, {{per_sec}}");
    Ok(ProgressBar::new(total).with_style(ProgressStyle::with_template(&template)?))
}

/// Where a flood goes.
struct Place<'a> {
    run: &'a Run<'a>,
    store: &'a Store,
    database: &'a str,
    broker: &'a str,
}

/// Drives the flood, and says what PostgreSQL counted.
async fn flood(place: &Place<'_>) -> anyhow::Result<(Flood, Statements)> {
    let Place { run, store, database, broker } = *place;
    let Run { args, services, .. } = *run;
    eprintln!("  … {} envelopes as fast as they go", args.envelopes);
    let environment = [("DATABASE_URL", database), ("AMQP_URL", broker), ("RUST_LOG", "warn")];
    let limit = args.envelopes.to_string();
    // Some conversations are never chosen.
    let topics = (args.topics * 5 / 4).to_string();
    let generate = ["--generate", "0", "--limit", &limit, "--conversations", &topics];
    let (node, url) = run.start_node(&generate).await?;
    let mark = store.mark_costs().await?;
    let goal = i64::try_from(args.envelopes)?;
    let service_cpu = || services.pids().iter().map(|&pid| machine::cpu_seconds(pid)).sum::<f64>();
    let cpu = (service_cpu(), machine::cpu_seconds(node.pid()));
    let (up, _) = run.start_up(&url, &environment).await?;
    let bar = bar("envelopes derived", args.envelopes)?;
    let (mut began, mut marks) = (None, Vec::new());
    loop {
        let head = store.head().await?.0;
        let done = store.watermarks().await?.iter().map(|mark| mark.position.0).min().unwrap_or(0);
        if head > 0 && began.is_none() {
            began = Some(Instant::now());
        }
        bar.set_position(u64::try_from(done).unwrap_or(0));
        if let Some(began) = began {
            marks.push((began.elapsed().as_secs_f64(), done));
        }
        if done >= goal {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bar.finish_and_clear();
    let seconds = began.map_or(0.0, |began| began.elapsed().as_secs_f64());
    let count = args.envelopes as f64;
    let costs = store.costs(mark).await?;
    let mib_a_million = |bytes: i64| bytes as f64 / f64::from(1 << 20) / count * 1e6;
    let flood = Flood {
        envelopes: args.envelopes,
        seconds,
        rate: count / seconds,
        slowest_tenth: slowest_tenth(&marks, goal),
        program_peak_mib: machine::peak_mib(up.pid()).unwrap_or_default(),
        program_cpu_us: machine::cpu_seconds(up.pid()) * 1e6 / count,
        services_cpu_us: (service_cpu() - cpu.0) * 1e6 / count,
        node_cpu_us: (machine::cpu_seconds(node.pid()) - cpu.1) * 1e6 / count,
        wal_mib: mib_a_million(costs.wal_bytes),
        disk_mib: mib_a_million(costs.disk_bytes),
    };
    up.stop().await?;
    node.stop().await?;
    let by_table: Vec<_> = costs
        .by_table
        .into_iter()
        .map(|(table, milliseconds)| (table, milliseconds * 1e3 / count))
        .collect();
    let us = by_table.iter().map(|(_, us)| us).sum();
    Ok((flood, Statements { us, by_table, scanned: costs.scanned }))
}

/// The rate of the slowest tenth: what is sustained does not fade.
fn slowest_tenth(marks: &[(f64, i64)], goal: i64) -> f64 {
    let at = |share: i64| {
        marks.iter().find(|(_, done)| *done >= goal * share / 10).map_or(0.0, |(when, _)| *when)
    };
    (0..10)
        .map(|tenth| (at(tenth + 1) - at(tenth)).max(1e-3))
        .map(|took| goal as f64 / 10.0 / took)
        .fold(f64::INFINITY, f64::min)
}

fn show(args: &Args, limits: &Limits, flood: &Flood, statements: &Statements, latency: &Latency) {
    println!();
    println!(
        "  messages of {:.0} bytes on average; load {}",
        limits.message_bytes,
        machine::load()
    );
    println!("  limit: broker alone        {:>9.0} envelopes/s", limits.broker);
    println!("  limit: COPY alone          {:>9.0} envelopes/s", limits.copy);
    println!(
        "  node to projections        {:>9.0} envelopes/s over {} ({:.1} s); slowest tenth {:.0}",
        flood.rate, flood.envelopes, flood.seconds, flood.slowest_tenth
    );
    println!("    of the broker            {:>9.2}", flood.rate / limits.broker);
    println!("    of COPY                  {:>9.2}", flood.rate / limits.copy);
    println!(
        "    for a million            {:>9.0} MiB of WAL, {:.0} MiB of disk",
        flood.wal_mib, flood.disk_mib
    );
    println!(
        "  CPU per envelope           {:>9.1} us program, {:.1} us Postgres and RabbitMQ, {:.1} us node",
        flood.program_cpu_us, flood.services_cpu_us, flood.node_cpu_us
    );
    println!("  the program's memory       {:>9} MiB at most", flood.program_peak_mib);
    println!("  statements per envelope    {:>9.1} us", statements.us);
    for (table, us) in statements.by_table.iter().filter(|(_, us)| *us >= 0.1) {
        println!("    {table:<24} {us:>9.1} us");
    }
    for (table, scans) in &statements.scanned {
        println!("    {table} was read from end to end {scans} times");
    }
    println!(
        "  visible in GraphQL         {:>9.0} ms p50, {:.0} ms p99, {:.0} ms max at {}/s ({} envelopes)",
        latency.p50, latency.p99, latency.max, args.latency_rate, latency.samples
    );
}
