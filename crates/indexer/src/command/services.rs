//! `services`: only the embedded PostgreSQL and RabbitMQ, for tests and for trying things out.

use std::io::Write;

use anyhow::Context as _;

use super::Context;
use crate::config::Config;
use embedded::{Announcement, Options, Services, Stop};
use ingest::Queue;

/// Runs only the private PostgreSQL and RabbitMQ of the data folder. Prints `DATABASE_URL=…` and
/// `AMQP_URL=…` on stdout once both answer, and runs until it is stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// PostgreSQL alone
    #[arg(long)]
    no_rabbitmq: bool,
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let Context { config, shutdown, .. } = context;
    let options = Options { rabbitmq: !args.no_rabbitmq, ..Options::default() };
    let starting = Services::start(&config.data_dir, options, |step| tracing::info!("{step}"));
    let services = tokio::select! {
        services = starting => services?,
        () = shutdown.requested() => return Ok(()),
    };
    let told = tokio::select! {
        told = tell(&config, &services, args.no_rabbitmq) => told,
        () = shutdown.requested() => Ok(()),
    };
    if told.is_ok() {
        shutdown.requested().await;
    }
    services.stop(Stop::Graceful).await;
    told
}

async fn tell(config: &Config, services: &Services, no_rabbitmq: bool) -> anyhow::Result<()> {
    if !no_rabbitmq {
        // The folder is one that `up` can go on with: its queues are there, and survive a crash.
        let declare = async |url: &str| -> anyhow::Result<()> {
            Queue::connect(url, config.names()?, &config.network).await?;
            Ok(())
        };
        services.open_amqp(declare).await?;
    }
    services.announce(Announcement::default())?;
    let mut lines = String::new();
    for (name, url) in
        [("DATABASE_URL", services.postgres_url()), ("AMQP_URL", services.amqp_url())]
    {
        if let Some(url) = url {
            lines.push_str(&format!("{name}={url}\n"));
        }
    }
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush()).context("cannot print")
}
