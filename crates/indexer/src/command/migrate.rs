//! `migrate`: brings the database to this version.

use store::grants::{BY_HAND, READER, Readers};

use super::Context;
use crate::{
    output::{note, say},
    reach,
    waiting::Wait,
};

/// Migrates the database to the schema of this program. Does nothing if it is there already.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    wait: Wait,
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let Context { config, shutdown, health } = &context;
    let connect = || reach::store(config);
    let store = args.wait.for_service("PostgreSQL", shutdown, health, connect).await?;
    let done = store.migrate().await?;
    store.extend_partitions().await?;
    match done.from == done.to {
        true => say!("{} is at version {} already", store.target(), done.to)?,
        false => say!("{} went from version {} to {}", store.target(), done.from, done.to)?,
    }
    if done.readers == Readers::NoRole {
        note!(
            "warning: this user may not make the role {READER}, which `serve` takes on to do no more than read. \
             An administrator can create it: {BY_HAND}"
        );
    }
    Ok(())
}
