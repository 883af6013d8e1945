//! `bench`: measures, and prints ratios against limits measured in the same run.

use super::Context;
use crate::bench;

/// Measures the program against the limits of this machine, in one run.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Node → RabbitMQ → log → projections, signatures verified; beside the broker alone and COPY alone
    Ingest(bench::ingest::Args),
    /// Three questions to the GraphQL server; beside pgbench and PostGraphile
    Api(bench::api::Args),
    /// Ways to append to the log: one appender at a time beside no order at all
    Log(bench::log::Args),
    /// What is sent to hurt: how long each refusal takes, what memory it needs, and what others notice of it
    Hostile(bench::hostile::Args),
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    match args.what {
        What::Ingest(args) => bench::ingest::run(args, context).await,
        What::Api(args) => bench::api::run(args, context).await,
        What::Log(args) => bench::log::run(args, context).await,
        What::Hostile(args) => bench::hostile::run(args, context).await,
    }
}
