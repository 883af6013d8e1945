//! `crawl`: fills in legacy history, from seed wallets outwards.

use std::path::PathBuf;

use anyhow::bail;
use ingest::crawl::{self, Crawl, CrawlOptions, Progress, Report, Stopped};
use tokio::sync::watch;
use wire::Address;

use super::{Context, roles};
use crate::{config::ConfigError, output::say, progress, text, waiting::Wait};

/// Fetches legacy history. Nodes answer queries about named topics only; names follow from wallets, and
/// headers name further wallets. Continues where the last crawl stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A file of seed wallets, one per line
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
    /// A file of topics that no wallet leads to (conversations of your own users), one per line
    #[arg(long, value_name = "FILE")]
    topics: Option<PathBuf>,
    /// The source to query, by its name in the configuration [default: the only one, or a running devnet]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The maximum number of requests in this run
    #[arg(long)]
    max_requests: Option<u64>,
    /// The maximum number of envelopes in this run
    #[arg(long)]
    max_envelopes: Option<u64>,
    /// The maximum number of wallets in this run
    #[arg(long)]
    max_accounts: Option<u64>,
    /// The maximum distance from a seed, in steps
    #[arg(long)]
    max_depth: Option<u32>,
    /// Prints the report as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wait: Wait,
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let accounts = lines(args.addresses.as_deref(), "wallet", |line| {
        line.parse::<Address>().map_err(|e| e.to_string())
    })?;
    let topics = lines(args.topics.as_deref(), "topic", |line| Ok(line.to_owned()))?;
    let store = roles::store(args.wait, &context).await?;
    let source = source(&args, &context)?;
    let queue = roles::queue(args.wait, &context).await?;
    let options = CrawlOptions {
        max_requests: args.max_requests,
        max_envelopes: args.max_envelopes,
        max_accounts: args.max_accounts,
        max_depth: args.max_depth,
        ..CrawlOptions::default()
    };
    let bar = progress::counter("envelopes found");
    let (tell, mut told) = watch::channel(Progress::default());
    let showing = tokio::spawn({
        let bar = bar.clone();
        async move {
            while told.changed().await.is_ok() {
                let now = *told.borrow();
                bar.set_position(now.envelopes);
                let waiting = now.totals.accounts_waiting;
                bar.set_message(format!(
                    "{} wallets visited, {waiting} waiting, {} requests",
                    now.accounts, now.requests
                ));
            }
        }
    });
    let crawl = Crawl { queue, store, source, accounts, topics, options };
    let report = crawl::run(crawl, tell, context.shutdown.token()).await?;
    showing.abort();
    bar.finish_and_clear();
    match args.json {
        true => say!("{}", serde_json::to_string(&report)?)?,
        false => show(&report)?,
    }
    Ok(())
}

fn show(report: &Report) -> anyhow::Result<()> {
    let (run, all) = (&report.progress, &report.progress.totals);
    say!(
        "this run    {} wallets, {} envelopes, {} requests",
        run.accounts,
        run.envelopes,
        run.requests
    )?;
    say!("all runs    {} wallets visited, {} waiting", all.accounts_visited, all.accounts_waiting)?;
    say!(
        "            {} topics read to the end ({} hold anything), {} waiting, {} too large, {} refused by the node",
        all.topics_done,
        all.topics_with_envelopes,
        all.topics_waiting,
        all.topics_cut_off,
        all.topics_refused
    )?;
    say!(
        "unreachable {} conversations whose names are sealed in invitations; preferences of {} wallets",
        report.conversations_out_of_reach,
        report.preferences_out_of_reach
    )?;
    say!("            (name topics that you know with --topics FILE)")?;
    match report.stopped {
        Stopped::Finished => {
            say!("finished: everything that these seeds lead to has been fetched")?
        }
        Stopped::Cancelled => say!("interrupted: run crawl again to continue")?,
        limit => say!(
            "stopped by the limit on {}: crawl again to go on",
            format!("{limit:?}").to_lowercase()
        )?,
    }
    Ok(())
}

/// The source to query.
fn source(args: &Args, context: &Context) -> anyhow::Result<ingest::Source> {
    let mut known = roles::sources(&context.config)?;
    if let Some(url) =
        embedded::running(&context.config.data_dir)?.and_then(|running| running.node_url)
    {
        known.push(roles::devnet_source(url)?);
    }
    let names: Vec<_> = known.iter().map(|source| source.name.clone()).collect();
    let chosen = match &args.source {
        Some(name) => known.into_iter().find(|source| &source.name == name),
        None if known.len() == 1 => known.pop(),
        None => None,
    };
    match chosen {
        Some(source) => Ok(source),
        None if names.is_empty() => bail!(ConfigError::Usage(
            "no node to ask: configure [[sources]], or start `up --devnet`".into()
        )),
        None => bail!(ConfigError::Usage(format!(
            "which node? --source is one of: {}",
            names.join(", ")
        ))),
    }
}

fn lines<T>(
    path: Option<&std::path::Path>,
    what: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> anyhow::Result<Vec<T>> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let text = text::read(path)?;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse(line) {
            Ok(value) => found.push(value),
            Err(reason) => bail!(ConfigError::Usage(format!(
                "line {} of {} is no {what}: {reason}",
                number + 1,
                path.display()
            ))),
        }
    }
    Ok(found)
}
