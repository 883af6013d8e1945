//! `migrate`: brings the database to this version.

use store::grants::{BY_HAND, READER, Readers};

use super::Context;
use crate::reach;

/// Brings the database to this program's version. Harmless when it is there already.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub async fn run(_: Args, context: Context) -> anyhow::Result<()> {
    let store = reach::store(&context.config).await?;
    let done = store.migrate().await?;
    store.extend_partitions().await?;
    match done.from == done.to {
        true => println!("{} is at version {} already", store.target(), done.to),
        false => println!("{} went from version {} to {}", store.target(), done.from, done.to),
    }
    if done.readers == Readers::NoRole {
        eprintln!(
            "warning: this user may not make the role {READER}, which `serve` takes on to do no more than read. \
             Let an administrator say: {BY_HAND}"
        );
    }
    Ok(())
}
