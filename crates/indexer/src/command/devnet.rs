//! `devnet`: the local network alone.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use devnet::{Devnet, Generator, Options};

use super::Context;
use crate::{config::listen::resolve, output::say};

/// Runs a local XMTP network: captured and generated traffic, over the APIs of nodes.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the gRPC API listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5556", value_parser = resolve)]
    listen: SocketAddr,
    /// Where the HTTP/JSON gateway listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:5555", value_parser = resolve)]
    http: SocketAddr,
    /// Captured traffic to serve: newline-delimited JSON, plain or gzipped (repeatable)
    #[arg(long, value_name = "FILE", num_args = 1..)]
    capture: Vec<PathBuf>,
    /// How many envelopes to play a second [default: as fast as subscribers read]
    #[arg(long)]
    rate: Option<u32>,
    /// Moves the captured times so that the last one is from now
    #[arg(long)]
    shift_times: bool,
    /// Generates this many new envelopes per second, once the captures are played; 0: as fast as subscribers read
    #[arg(long, value_name = "RATE")]
    generate: Option<u32>,
    /// Generates at most this many new envelopes
    #[arg(long, value_name = "COUNT", requires = "generate")]
    limit: Option<u64>,
    /// Generated traffic begins with this many conversations without invitations
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    conversations: usize,
    /// The seed of the new traffic
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let generate = args.generate.map(|rate| {
        let mut generator = Generator::new(args.seed);
        generator.rate = (rate > 0).then_some(rate);
        generator.limit = args.limit;
        generator.config.conversations = args.conversations;
        generator
    });
    let options = Options {
        grpc: args.listen,
        http: Some(args.http),
        captures: args.capture,
        rate: args.rate,
        shift_times: args.shift_times,
        generate,
        wait_for_subscriber: true,
    };
    let devnet = Devnet::start(options, context.shutdown.token()).await?;
    say!("gRPC      {}", devnet.grpc_url())?;
    if let Some(url) = devnet.http_url() {
        say!("HTTP/JSON {url}")?;
    }
    say!(
        "{} envelopes can be queried; playing starts when a client subscribes to everything",
        devnet.stored()
    )?;
    context.shutdown.requested().await;
    tokio::time::timeout(Duration::from_secs(10), devnet.stop()).await.ok();
    Ok(())
}
