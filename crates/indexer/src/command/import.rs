//! `import`: envelopes from files, through the queue like everything else.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::bail;
use ingest::import::{self, Import, Imported};
use tokio::sync::watch;

use super::{Context, roles};
use crate::{output::say, progress, role, waiting::Wait};
use envelopes::{Envelopes, Problems};

mod envelopes;

/// Reads envelopes from files and sends them through the queue. Importing a file twice changes nothing.
///
/// The files hold newline-delimited JSON, a JSON list of envelopes, or responses of a gateway's query; plain or gzipped.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The files; `-` is stdin
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The name of the source of the envelopes
    #[arg(long, default_value = "import")]
    source: String,
    /// Skips and counts lines and objects that are not envelopes
    #[arg(long)]
    skip_bad_lines: bool,
    #[command(flatten)]
    wait: Wait,
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let store = roles::store(args.wait, &context).await?;
    let queue = roles::queue(args.wait, &context).await?;
    let pages = role::pages(&context.config)?;
    let import = Import { queue, store, source: args.source.clone(), pages };
    let problems = Arc::new(Mutex::new(Problems::default()));
    let envelopes = Envelopes::new(args.files, args.skip_bad_lines, problems.clone());

    let bar = progress::counter("envelopes sent");
    let (tell, mut told) = watch::channel(Imported::default());
    let showing = tokio::spawn({
        let bar = bar.clone();
        async move {
            while told.changed().await.is_ok() {
                bar.set_position(told.borrow().envelopes);
            }
        }
    });
    let done = import::run(import, envelopes, tell, context.shutdown.token()).await?;
    showing.abort();
    bar.finish_and_clear();

    let problems = std::mem::take(&mut *problems.lock().unwrap_or_else(PoisonError::into_inner));
    report(&done, problems)
}

/// Prints how many envelopes are confirmed. Fails when that is not all of them.
fn report(done: &Imported, problems: Problems) -> anyhow::Result<()> {
    match done.confirmed == done.envelopes {
        true => {
            say!(
                "{} envelopes ({} bytes) are in the queue, confirmed",
                done.envelopes,
                done.bytes
            )?;
        }
        false => say!(
            "{} of {} envelopes are in the queue, confirmed; RabbitMQ has not confirmed the others",
            done.confirmed,
            done.envelopes
        )?,
    }
    if problems.skipped > 0 {
        say!(
            "{} lines or objects were no envelopes and were skipped; the first: {}",
            problems.skipped,
            problems.first
        )?;
    }
    if let Some(error) = problems.fatal {
        return Err(error.context(
            "stopped early; what is confirmed stays, and importing the same again changes nothing",
        ));
    }
    if !done.complete {
        bail!(
            "interrupted: import the same again to go on; what is there already is not stored twice"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_confirmed_is_called_so() {
        let stopped = Imported { envelopes: 9, bytes: 90, confirmed: 0, complete: false };
        let error = report(&stopped, Problems::default()).unwrap_err().to_string();
        assert!(error.starts_with("interrupted"), "{error}");
        let whole = Imported { confirmed: 9, complete: true, ..stopped };
        assert!(report(&whole, Problems::default()).is_ok());
        let cut = Problems { fatal: Some(anyhow::anyhow!("cut")), ..Problems::default() };
        assert!(report(&whole, cut).is_err());
    }
}
