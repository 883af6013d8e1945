//! `sources`: progress and gaps of sources.

use anyhow::bail;
use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde_json::json;
use store::{Store, sources::Source};

use super::{Context, roles, status};
use crate::{output::say, waiting::Wait};

/// Lists sources, rewinds the progress of one, or forgets one.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Lists sources with their progress and their gaps
    List {
        /// One JSON array
        #[arg(long)]
        json: bool,
    },
    /// Sets the progress of a source back, so that its puller reads everything since then again. First stop the puller and
    /// let the queue run empty: pages in it may state newer progress
    Rewind {
        /// The source, by its name
        name: String,
        /// The time to read again from, for example 2026-01-31T00:00:00Z; without it, the beginning
        #[arg(long, value_name = "TIME")]
        to: Option<DateTime<Utc>>,
    },
    /// Deletes progress, gaps and status of a source that is no longer read. Its envelopes stay. First stop its puller
    Forget {
        /// The source, by its name
        name: String,
    },
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let store = roles::store(args.wait, &context).await?;
    match args.action {
        Action::List { json: true } => {
            let sources: Vec<_> = store.sources().await?.iter().map(status::source_json).collect();
            say!("{}", json!(sources))?;
        }
        Action::List { json: false } => {
            let sources = store.sources().await?;
            for line in sources.iter().flat_map(status::source_lines) {
                say!("{line}")?;
            }
            if sources.is_empty() {
                say!("no source has been read yet")?;
            }
        }
        Action::Rewind { name, to } => {
            let source = known(&store, &name).await?;
            let Ok(kind) = source.kind.parse::<ingest::Kind>() else {
                bail!("`{name}` is not read from nodes of a kind that this program knows");
            };
            let time_ns = to
                .map_or(0, |to| u64::try_from(to.timestamp_nanos_opt().unwrap_or(0)).unwrap_or(0));
            let lead = lead(&store, &name).await?;
            let moved = store.rewind(&name, &kind.rewound_to(time_ns)).await?;
            lead.release().await;
            match moved {
                0 => say!("{name} had not been read further than that")?,
                _ => say!("{name} is read again from there when its puller starts")?,
            }
        }
        Action::Forget { name } => {
            known(&store, &name).await?;
            let lead = lead(&store, &name).await?;
            store.forget_source(&name).await?;
            lead.release().await;
            say!("{name} is forgotten; its envelopes stay")?;
        }
    }
    Ok(())
}

async fn known(store: &Store, name: &str) -> anyhow::Result<Source> {
    let sources = store.sources().await?;
    let names: Vec<_> = sources.iter().map(|source| source.name.clone()).collect();
    match sources.into_iter().find(|source| source.name == name) {
        Some(source) => Ok(source),
        None if names.is_empty() => bail!("there is no source `{name}`: none has been read yet"),
        None => bail!("there is no source `{name}`; known: {}", names.join(", ")),
    }
}

/// Takes the lead of a source: a running puller would overwrite the progress with what it has in memory.
async fn lead(store: &Store, name: &str) -> anyhow::Result<store::Leadership> {
    match store.lead(name).await? {
        Some(lead) => Ok(lead),
        None => bail!("a puller reads `{name}` now: stop it first"),
    }
}
