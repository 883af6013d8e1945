//! `bench api`: three questions to a full index, beside the same SQL by pgbench (the limit) and PostGraphile (the peer).

mod http;
mod limit;
mod load;
mod peer;
mod question;
mod report;
mod sample;
mod subscribers;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use embedded::{Options, Services};
use store::{Store, measure::population::Population};

use self::{
    http::Target,
    limit::Limit,
    load::{Load, Pace},
    peer::Peer,
    question::{Dialect, Question},
    report::{Report, Rounds},
    sample::{Watched, median},
};
use crate::{
    child::{Process, Program},
    machine,
    workspace::Workspace,
};

/// Asks the API as its users do: an account by its address, a page of 50 invites by recipient with senders and bundles,
/// the hours of a day. Each in rounds that take turns with pgbench (the same SQL, prepared) and with PostGraphile on the
/// same tables; then at half of the highest rate, and with many subscribers.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Envelopes in the log
    #[arg(long, default_value_t = 2_000_000)]
    envelopes: u64,
    /// Invitations
    #[arg(long, default_value_t = 100_000)]
    invites: u64,
    /// How long each turn takes, in seconds
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How many turns each has at each question
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Connections that ask at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=64))]
    connections: u64,
    /// WebSockets that follow the log
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=4_000))]
    subscribers: u64,
    /// A hundredth of everything, one short round: only shows that it works and that answers are equal
    #[arg(long)]
    smoke: bool,
    /// Where npm installs PostGraphile, once (about 500 MB)
    #[arg(long, value_name = "DIR", default_value = "target/bench-peer")]
    peer_folder: PathBuf,
    /// Goes without PostGraphile unless it is installed there already
    #[arg(long)]
    no_install: bool,
    /// Where the benchmark keeps its files while it runs [default: a temporary folder]
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Args {
    fn scaled(mut self) -> Args {
        if self.smoke {
            self.envelopes /= 100;
            self.invites /= 100;
            self.subscribers = self.subscribers.div_ceil(100);
            (self.seconds, self.rounds) = (1, 1);
        }
        self
    }
}

/// Runs the benchmark.
pub async fn run(
    args: Args,
    program: &Program,
    interrupted: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let args = args.scaled();
    let workspace = Workspace::new(args.folder.clone())?;
    let options = Options { rabbitmq: false, ..Options::default() };
    let measured =
        async |services: &Services| measure(&args, program, workspace.folder(), services).await;
    let report = workspace.with_services(options, interrupted, measured).await?;
    match args.json {
        true => println!("{}", report.json()),
        false => report.show(),
    }
    ensure!(report.complete(), "not every envelope reached every subscriber");
    Ok(())
}

async fn measure(
    args: &Args,
    program: &Program,
    folder: &Path,
    services: &Services,
) -> anyhow::Result<Report> {
    let database = services.local_postgres_url().context("no database")?;
    let postgres = services.pids().first().copied().context("no database")?;
    let population = Population { envelopes: args.envelopes, invites: args.invites };
    let store = Store::connect(store::Options::new(database)).await?;
    store.migrate().await?;
    store.populate(&population, |step| eprintln!("  … made: {step}")).await?;
    store.prepare_peer().await?;

    let limit = Limit::find(folder, database)?;
    let log = folder.join("postgraphile.log");
    let (peer, no_peer) =
        match Peer::start(&args.peer_folder, !args.no_install, database, &log).await {
            Ok(peer) => (Some(peer), None),
            Err(reason) => {
                eprintln!("  … without PostGraphile: {reason:#}");
                (None, Some(format!("{reason:#}")))
            }
        };
    let (server, target) = serve(program, folder, database).await?;
    let bench = Bench { args, limit, population, target, server: server.pid(), postgres, peer };
    bench.answers_are_alike().await?;
    let loaded = machine::load();
    let mut rounds = Vec::new();
    for question in Question::ALL {
        rounds.push(bench.rounds(question).await?);
    }
    if let Some(peer) = bench.peer {
        peer.stop().await?;
    }
    eprintln!("  … {} subscribers", args.subscribers);
    let seconds = if args.smoke { 2 } else { 10 };
    let told =
        subscribers::measure(&bench.target, bench.server, &store, args.subscribers, 10, seconds)
            .await?;
    server.stop().await?;
    let load = [loaded, machine::load()];
    let Population { envelopes, invites } = population;
    Ok(Report { envelopes, invites, rounds, told, no_peer, smoke: args.smoke, load })
}

/// The program as it is by default, whatever is configured here: limits are on, and each request is a line in a file.
async fn serve(
    program: &Program,
    folder: &Path,
    database: &str,
) -> anyhow::Result<(Process, Target)> {
    let defaults = folder.join("defaults.toml");
    std::fs::write(&defaults, "")?;
    let args = ["serve", "--listen", "127.0.0.1:0", "--config", &defaults.display().to_string()];
    let environment = [("DATABASE_URL", database), ("RUST_LOG", "")];
    let mut server = program.start(&args, &environment, &folder.join("serve.log"))?;
    let url = server.word_behind("GraphQL").await?;
    Ok((server, Target::parse(&url)?))
}

/// Everybody who takes part.
struct Bench<'a> {
    args: &'a Args,
    limit: Limit,
    population: Population,
    target: Target,
    server: u32,
    postgres: u32,
    peer: Option<Peer>,
}

impl Bench<'_> {
    fn ours(&self, question: Question) -> (Load, Watched) {
        let (target, population) = (self.target.clone(), self.population);
        let load = Load { target, dialect: Dialect::Ours, question, population };
        (load, Watched { server: Some(self.server), postgres: self.postgres })
    }

    fn theirs(&self, question: Question) -> Option<(Load, Watched)> {
        let peer = self.peer.as_ref()?;
        let (target, population) = (peer.target.clone(), self.population);
        let load = Load { target, dialect: Dialect::Peer, question, population };
        Some((load, Watched { server: Some(peer.pid()), postgres: self.postgres }))
    }

    /// Who answers faster must answer the same: compared for some of each question.
    async fn answers_are_alike(&self) -> anyhow::Result<()> {
        for question in Question::ALL {
            let choices = question.choices(&self.population);
            for nth in (0..choices).step_by(usize::try_from(choices.div_ceil(25))?) {
                let answer = self.ours(question).0.answer(nth).await?;
                let ours = Dialect::Ours.content(question, &answer);
                ensure!(full(question, &ours), "{}: too little: {answer}", question.name());
                if let Some((load, _)) = self.theirs(question) {
                    let answer = load.answer(nth).await?;
                    let theirs = Dialect::Peer.content(question, &answer);
                    ensure!(
                        ours == theirs,
                        "{} {nth}: answers differ: {ours} and PostGraphile's {theirs}",
                        question.name()
                    );
                }
            }
        }
        Ok(())
    }

    async fn rounds(&self, question: Question) -> anyhow::Result<Rounds> {
        let seconds = self.args.seconds;
        let connections = usize::try_from(self.args.connections)?;
        let pace = Pace::Closed(connections);
        let (ours, watched) = self.ours(question);
        let (mut of_limit, mut of_ours, mut of_peer) = (Vec::new(), Vec::new(), Vec::new());
        for round in 1..=self.args.rounds {
            eprintln!("  … {}: round {round}; load {}", question.name(), machine::load());
            let alone = Watched { server: None, ..watched };
            let population = &self.population;
            of_limit
                .push(self.limit.run(question, population, connections, seconds, &alone).await?);
            of_ours.push(ours.run(pace, seconds, &watched).await?);
            if let Some((load, watched)) = self.theirs(question) {
                of_peer.push(load.run(pace, seconds, &watched).await?);
            }
        }
        let half = median(of_ours.iter().map(|sample| sample.rate)) / 2.0;
        let seconds = if self.args.smoke { seconds } else { 2 * seconds };
        let half = ours.run(Pace::Open(half), seconds, &watched).await?;
        Ok(Rounds { question, limit: of_limit, ours: of_ours, peer: of_peer, half })
    }
}

/// Is there as much in an answer as the question is about?
fn full(question: Question, content: &serde_json::Value) -> bool {
    match question {
        Question::Point => {
            content.as_array().is_some_and(|all| all.iter().all(|one| !one.is_null()))
        }
        Question::Page => content["rows"].as_array().is_some_and(|rows| rows.len() == 50),
        Question::Hours => content.as_array().is_some_and(|hours| hours.len() == 24),
    }
}
