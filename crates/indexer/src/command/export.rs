//! `export`: the log as newline-delimited JSON.

use std::{
    io::{BufWriter, Write},
    path::PathBuf,
};

use anyhow::Context as _;
use store::log::{Content, Logged, PageBounds, Position};

use super::Context;
use crate::{output::note, progress, reach};

/// Writes the log, in its order, as newline-delimited JSON in the form of a node's HTTP gateway.
///
/// Erased messages are left out. So are envelopes whose topic is not text: that form has no place
/// for them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file to write to [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Starts after this position
    #[arg(long, default_value_t = 0)]
    after: i64,
    /// Includes private stores: users' encrypted keys, which the API never returns
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
    let mut left_out = LeftOut::default();
    while at < head && !context.shutdown.is_requested() {
        let page = store.page(at, head, PageBounds::default()).await?;
        let Some(last) = page.last() else { break };
        at = last.position;
        for logged in &page {
            let Some(line) = line(logged, args.with_private_stores, &mut left_out) else {
                continue;
            };
            match writeln!(out, "{line}") {
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                other => other.context("cannot write")?,
            }
        }
        bar.inc(u64::try_from(page.len())?);
    }
    out.flush().context("cannot write")?;
    bar.finish_and_clear();
    for (count, what) in
        [(left_out.erased, "erased"), (left_out.binary, "on topics that are not text")]
    {
        if count > 0 {
            note!("left out {count} envelopes: {what}");
        }
    }
    Ok(())
}

/// Counts of envelopes that cannot be written.
#[derive(Default)]
struct LeftOut {
    erased: u64,
    binary: u64,
}

fn line(logged: &Logged, with_private_stores: bool, left_out: &mut LeftOut) -> Option<String> {
    let Content::Message(message) = &logged.content else {
        left_out.erased += 1;
        return None;
    };
    let Ok(topic) = std::str::from_utf8(&logged.topic) else {
        left_out.binary += 1;
        return None;
    };
    if wire::topic::is_private(topic) && !with_private_stores {
        return None;
    }
    Some(wire::json::to_line(topic, logged.timestamp_ns, message))
}
