//! `rebuild`: replays the log into projections.

use std::time::Duration;

use super::Context;
use crate::{progress, reach};

/// Empties projections and replays the log into them. Whoever projects (`up` or `project`) does the
/// work; this waits for it and shows how far it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which projections; `status` names them
    #[arg(required_unless_present = "all")]
    names: Vec<String>,
    /// Every projection
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Does not wait for the end
    #[arg(long)]
    no_wait: bool,
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let store = reach::migrated_store(&context.config).await?;
    let names = store.rebuild(&args.names).await?;
    println!("rebuilding {}", names.join(", "));
    if args.no_wait {
        return Ok(());
    }
    let head = store.head().await?;
    let bar = progress::bar("replayed", u64::try_from(head.0)?);
    loop {
        let marks = store.watermarks().await?;
        let slowest = marks
            .iter()
            .filter(|mark| names.contains(&mark.name.as_str()))
            .map(|mark| mark.position)
            .min();
        bar.set_position(u64::try_from(slowest.unwrap_or_default().0)?);
        if slowest.is_some_and(|position| position >= head) {
            bar.finish();
            println!("done: everything up to position {head}");
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            () = context.shutdown.requested() => {
                println!("not waiting any longer; projectors go on with it");
                return Ok(());
            }
        }
    }
}
