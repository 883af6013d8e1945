//! `export`: the log as newline-delimited JSON.

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use anyhow::Context as _;
use store::log::{PageBounds, Position};

use super::Context;
use crate::{progress, reach};

/// Writes the log, in its order, as newline-delimited JSON in the nodes' own form.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Begins behind this position
    #[arg(long, default_value_t = 0)]
    after: i64,
    /// Private stores too: users' encrypted keys, which no API serves
    #[arg(long)]
    with_private_stores: bool,
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let store = reach::migrated_store(&context.config).await?;
    let head = store.head().await?;
    let bar = progress::bar("envelopes", u64::try_from((head.0 - args.after).max(0))?);
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => {
            let file = std::fs::File::create(path)
                .with_context(|| format!("cannot write {}", path.display()))?;
            Box::new(BufWriter::new(file))
        }
        None => Box::new(BufWriter::new(std::io::stdout())),
    };
    let mut at = Position(args.after);
    while at < head && !context.shutdown.is_requested() {
        let page = store.page(at, head, PageBounds::default()).await?;
        let Some(last) = page.last() else { break };
        at = last.position;
        for logged in &page {
            if wire::topic::is_private(&logged.topic) && !args.with_private_stores {
                continue;
            }
            let line = wire::json::to_line(&logged.topic, logged.timestamp_ns, &logged.message);
            match writeln!(out, "{line}") {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                other => other.context("cannot write")?,
            }
        }
        bar.inc(u64::try_from(page.len())?);
    }
    out.flush().context("cannot write")?;
    bar.finish_and_clear();
    Ok(())
}
