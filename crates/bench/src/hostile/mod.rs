//! `bench hostile`: what it costs to refuse, and what others notice of it.

pub mod inputs;
pub mod neighbour;
pub mod send;

use std::{net::SocketAddr, ops::RangeInclusive, path::Path, sync::Arc, time::Duration};

use crate::hostile::inputs::{Conversation, Due, Request, conversations, requests};
use anyhow::{Context as _, bail, ensure};
use embedded::{Options, Services};
use neighbour::Waits;
use send::{Outcome, Said};
use serde_json::json;
use store::{Projector, Store};
use tokio_util::sync::CancellationToken;

use crate::{
    child::{Process, Program},
    limits, machine,
    workspace::Workspace,
};

/// A refusal may take so long, in milliseconds,
const MILLISECONDS: f64 = 50.0;
/// may need so much memory meanwhile, in MiB,
const MEBIBYTES: f64 = 5.0;
/// and may make others wait so many times longer.
const RATIO: f64 = 2.0;

/// Sends everything that is hostile to a server of its own, with its own limits: how long each refusal takes, how much
/// memory it needs, and what somebody who behaves notices of it.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// How often each thing is sent
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    times: u32,
    /// How long the one who behaves is measured alone, and again beside it all, in seconds
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Measure him beside each thing alone as well, for so many milliseconds: tells which of them is felt
    #[arg(long)]
    each: Option<u64>,
    /// Send only what has this in its name
    #[arg(long)]
    only: Option<String>,
    /// Envelopes in the index
    #[arg(long, default_value_t = 5_000)]
    envelopes: usize,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// One thing that is sent.
#[derive(Debug)]
pub enum Attack {
    /// Over HTTP.
    Request(Request),
    /// Over a WebSocket.
    Conversation(Conversation),
}

impl Attack {
    /// All of them that have this in their names.
    #[must_use]
    pub fn all(only: &str) -> Vec<Attack> {
        let requests = requests().into_iter().map(Attack::Request);
        let all = requests.chain(conversations().into_iter().map(Attack::Conversation));
        all.filter(|attack| attack.name().1.contains(only)).collect()
    }

    /// The way that it goes, and what it is called.
    #[must_use]
    pub fn name(&self) -> (&'static str, &'static str) {
        match self {
            Attack::Request(request) => ("http", request.name),
            Attack::Conversation(conversation) => ("socket", conversation.name),
        }
    }

    /// What must come back.
    #[must_use]
    pub fn due(&self) -> &Due {
        match self {
            Attack::Request(request) => &request.due,
            Attack::Conversation(conversation) => &conversation.due,
        }
    }

    /// Sends it, over a connection of its own.
    pub async fn send(&self, address: SocketAddr) -> Outcome {
        match self {
            Attack::Request(request) => send::request(address, request).await,
            Attack::Conversation(conversation) => send::conversation(address, conversation).await,
        }
    }

    /// What is wrong with what came back.
    #[must_use]
    pub fn wrong(&self, said: Result<Said, String>) -> Option<String> {
        let judged = match (self, said) {
            (_, Err(wrong)) => Err(wrong),
            (Attack::Request(request), Ok(Said::Answer(status, body))) => {
                send::judge_answer(request, status, &body)
            }
            (Attack::Conversation(conversation), Ok(Said::Frame(frame))) => {
                send::judge_frame(conversation, &frame)
            }
            _ => Ok(()),
        };
        judged.err()
    }
}

/// What one thing cost.
#[derive(Clone, Debug, serde::Serialize)]
struct Row {
    way: &'static str,
    name: &'static str,
    times: u32,
    /// Milliseconds; none where nothing is refused before a deadline.
    median: Option<f64>,
    most: Option<f64>,
    /// Memory that the server took for it, in MiB.
    memory: f64,
    /// What somebody who behaves waits beside this alone: p99 in milliseconds, where it was measured.
    felt: Option<f64>,
    /// Is all of this within what is allowed?
    fine: bool,
    /// What was wrong with an answer.
    wrong: Option<String>,
}

/// What others noticed.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Noticed {
    alone: Waits,
    beside: Waits,
    ratio: f64,
    /// What was sent meanwhile.
    sent: u64,
}

/// Runs the benchmark.
pub async fn run(
    args: Args,
    program: &Program,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let workspace = Workspace::new(None)?;
    let options = Options { rabbitmq: false, ..Options::default() };
    let measured =
        async |services: &Services| measure(&args, program, workspace.folder(), services).await;
    let (rows, noticed) = workspace.with_services(options, interrupted, measured).await?;
    if args.json {
        println!("{}", json!({ "sent": rows, "noticed": noticed, "load1": machine::load() }));
    } else {
        show(&rows, &noticed);
    }
    Ok(())
}

async fn measure(
    args: &Args,
    program: &Program,
    folder: &Path,
    services: &Services,
) -> anyhow::Result<(Vec<Row>, Noticed)> {
    let database = services.local_postgres_url().context("no database")?;
    fill(database, args.envelopes).await?;
    let environment = [("DATABASE_URL", database), ("RUST_LOG", "warn")];
    let data = folder.join("serve").display().to_string();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", &data];
    let mut serve = program.start(&arguments, &environment, &folder.join("serve.log"))?;
    let url = serve.word_behind("GraphQL").await?;
    let address: SocketAddr = url
        .trim_start_matches("http://")
        .trim_end_matches("/graphql")
        .parse()
        .with_context(|| format!("`serve` is at {url}"))?;
    let outcome = attack(args, &serve, address, &url).await;
    serve.stop().await?;
    outcome
}

/// Something to be asked for.
async fn fill(database: &str, envelopes: usize) -> anyhow::Result<()> {
    let store = Store::connect(store::Options::new(database)).await?;
    store.migrate().await?;
    store.extend_partitions().await?;
    for part in limits::envelopes(envelopes).chunks(1_000) {
        store.append(&[limits::page(part.iter().cloned())]).await?;
    }
    let head = store.head().await?;
    let mut projector = Projector::new(store, Arc::default(), store::projector::Config::default());
    while projector.catch_up().await? < head {}
    Ok(())
}

async fn attack(
    args: &Args,
    serve: &Process,
    address: SocketAddr,
    url: &str,
) -> anyhow::Result<(Vec<Row>, Noticed)> {
    let span = Duration::from_secs(args.seconds);
    let attacks = Arc::new(Attack::all(args.only.as_deref().unwrap_or_default()));
    ensure!(!attacks.is_empty(), "nothing that is sent has such a name");
    // Connections are opened, and everything is once in memory.
    neighbour::measure(url, Duration::from_secs(2)).await?;
    eprintln!("  … somebody who behaves, alone");
    let alone = neighbour::measure(url, span).await?;
    eprintln!("  … {} hostile things, {} times each", attacks.len(), args.times);
    let mut rows = Vec::new();
    for attack in attacks.iter() {
        rows.push(cost(attack, args.times, serve.pid(), address).await?);
    }
    if let Some(each) = args.each.map(Duration::from_millis) {
        eprintln!("  … somebody who behaves, beside each");
        for (nth, row) in rows.iter_mut().enumerate() {
            let (beside, _) = beside(&attacks, nth..=nth, address, url, each).await?;
            row.felt = Some(beside.p99);
        }
    }
    eprintln!("  … somebody who behaves, beside them");
    let (beside, sent) = beside(&attacks, 0..=attacks.len() - 1, address, url, span).await?;
    Ok((rows, Noticed { alone, beside, ratio: beside.p99 / alone.p99, sent }))
}

/// Measures somebody who behaves while some of these things are sent; how many were.
async fn beside(
    attacks: &Arc<Vec<Attack>>,
    which: RangeInclusive<usize>,
    address: SocketAddr,
    url: &str,
    span: Duration,
) -> anyhow::Result<(Waits, u64)> {
    let stop = CancellationToken::new();
    let sending = tokio::spawn(again_and_again(attacks.clone(), which, address, stop.clone()));
    let beside = neighbour::measure(url, span).await;
    stop.cancel();
    Ok((beside?, sending.await?))
}

/// Sends one thing a number of times.
async fn cost(attack: &Attack, times: u32, pid: u32, address: SocketAddr) -> anyhow::Result<Row> {
    let (way, name) = attack.name();
    let late = matches!(attack.due(), Due::Late(..));
    let timed = !late && *attack.due() != Due::Patience;
    // Who waits for a deadline of seconds need not do so often.
    let times = if late { 1 } else { times };
    let (mut took, mut memory, mut wrong) = (Vec::new(), 0_u64, None);
    for _ in 0..times {
        machine::forget_peak(pid)
            .context("the kernel does not forget a process's peak of memory")?;
        let before = machine::resident_kib(pid).context("the server is gone")?;
        let outcome = attack.send(address).await;
        let peak = machine::peak_kib(pid).context("the server is gone")?;
        memory = memory.max(peak.saturating_sub(before));
        took.push(outcome.took.as_secs_f64() * 1e3);
        wrong = wrong.or(attack.wrong(outcome.said));
    }
    took.sort_by(f64::total_cmp);
    let [Some(median), Some(most)] = [took.get(took.len() / 2), took.last()] else {
        bail!("{name} was not sent");
    };
    let memory = memory as f64 / 1024.0;
    // What is answered takes what an answer takes.
    let quick = !timed || *attack.due() == Due::Answer || *most <= MILLISECONDS;
    let fine = quick && memory <= MEBIBYTES && wrong.is_none();
    let (median, most) = (timed.then_some(*median), timed.then_some(*most));
    Ok(Row { way, name, times, median, most, memory, felt: None, fine, wrong })
}

/// Sends one thing after the other until told to stop; how many. Nobody looks at what comes back: that would take the
/// processor's time, which is not the server's.
async fn again_and_again(
    attacks: Arc<Vec<Attack>>,
    which: RangeInclusive<usize>,
    address: SocketAddr,
    stop: CancellationToken,
) -> u64 {
    let mut sent = 0;
    for attack in which.cycle().filter_map(|nth| attacks.get(nth)) {
        tokio::select! {
            _ = attack.send(address), if !matches!(attack.due(), Due::Late(..)) => sent += 1,
            () = tokio::task::yield_now(), if matches!(attack.due(), Due::Late(..)) => {}
            () = stop.cancelled() => break,
        }
    }
    sent
}

fn show(rows: &[Row], noticed: &Noticed) {
    let sign = |fine: bool| if fine { "✓" } else { "✗" };
    let time = |time: Option<f64>| time.map_or("–".to_owned(), |time| format!("{time:.1}"));
    println!();
    println!("  {:<36} {:>10} {:>10} {:>10} {:>10}", "", "median ms", "most ms", "MiB", "felt ms");
    for row in rows {
        println!(
            "  {} {:<6} {:<27} {:>10} {:>10} {:>10.1} {:>10} {}",
            sign(row.fine),
            row.way,
            row.name,
            time(row.median),
            time(row.most),
            row.memory,
            time(row.felt),
            row.wrong.as_deref().unwrap_or_default()
        );
    }
    let bad = rows.iter().filter(|row| !row.fine).count();
    let slowest = rows.iter().filter_map(|row| row.most).fold(0.0, f64::max);
    let largest = rows.iter().map(|row| row.memory).fold(0.0, f64::max);
    println!();
    println!(
        "  {} {} of {} within {MILLISECONDS} ms and {MEBIBYTES} MiB; the slowest {slowest:.1} ms, the largest {largest:.1} MiB; load {}",
        sign(bad == 0),
        rows.len() - bad,
        rows.len(),
        machine::load()
    );
    let Noticed { alone, beside, ratio, sent } = noticed;
    println!(
        "  {} somebody who behaves waits {:.1} ms p50, {:.1} ms p99 alone; {:.1} ms p50, {:.1} ms p99 beside {sent} of these: {ratio:.2} times his usual p99, {RATIO} allowed",
        sign(*ratio <= RATIO),
        alone.p50,
        alone.p99,
        beside.p50,
        beside.p99
    );
}
