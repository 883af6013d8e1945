//! `rebuild`: builds projections again from the log.

use std::{collections::BTreeMap, time::Duration};

use super::Context;
use crate::{
    output::{note, say},
    progress, reach,
};

/// Builds projections again from the log, beside the tables that are served; when the new tables have
/// caught up they take the place of the old ones. Readers notice nothing. A process that projects
/// (`up` or `project`) does the work; this command waits for it and shows how far it is.
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
    say!(
        "rebuilding {}: new tables are built beside the served ones, and swapped in when they have caught up",
        names.join(", ")
    )?;
    if args.no_wait {
        return Ok(());
    }
    let bar = progress::bar("replayed", 0);
    let mut errors = BTreeMap::new();
    loop {
        let (head, marks) = (store.head().await?, store.watermarks().await?);
        let pending: Vec<_> = marks
            .iter()
            .filter(|mark| names.contains(&mark.name.as_str()))
            .filter_map(|mark| Some((mark, mark.rebuild?)))
            .collect();
        bar.set_length(u64::try_from(head.0)?);
        let Some(slowest) = pending.iter().map(|(_, rebuild)| rebuild.position).min() else {
            bar.finish_and_clear();
            say!("done: the new tables are served")?;
            return Ok(());
        };
        bar.set_position(u64::try_from(slowest.0)?);
        for (mark, _) in pending {
            if let Some(error) = &mark.error
                && errors.insert(mark.name.clone(), error.clone()).as_ref() != Some(error)
            {
                bar.suspend(|| note!("{} cannot be written now: {error}", mark.name));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            () = context.shutdown.requested() => {
                bar.finish_and_clear();
                say!("not waiting any longer; the projectors continue the rebuild")?;
                return Ok(());
            }
        }
    }
}
