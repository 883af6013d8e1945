//! The command line of the benchmarks.

use std::{path::PathBuf, process::ExitCode};

use bench::{api, child::Program, hostile, ingest, log};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// The allocator of the program, so that what is measured inside this process compares with it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures xmtp-indexer beside the limits of this machine, which are measured in the same run.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    benchmark: Benchmark,
    /// The program that is measured [default: xmtp-indexer beside this program]
    #[arg(long, global = true, value_name = "FILE")]
    program: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Benchmark {
    /// Node → RabbitMQ → log → projections, signatures verified; beside the broker alone and COPY alone
    Ingest(ingest::Args),
    /// Three GraphQL queries to the server; beside pgbench and PostGraphile
    Api(api::Args),
    /// Ways to append to the log: one appender at a time, beside appenders without any order
    Log(log::Args),
    /// Hostile input: how long each refusal takes, how much memory it needs, and how it affects another client
    Hostile(hostile::Args),
}

fn main() -> ExitCode {
    match start(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: Cli) -> anyhow::Result<()> {
    // Without RUST_LOG, errors only.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    // One TLS implementation in the process; a second call changes nothing.
    rustls::crypto::ring::default_provider().install_default().ok();
    let program = Program::find(cli.program)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let interrupted = async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        match cli.benchmark {
            Benchmark::Ingest(args) => ingest::run(args, &program, interrupted).await,
            Benchmark::Api(args) => api::run(args, &program, interrupted).await,
            Benchmark::Log(args) => log::run(args, interrupted).await,
            Benchmark::Hostile(args) => hostile::run(args, &program, interrupted).await,
        }
    })
}
