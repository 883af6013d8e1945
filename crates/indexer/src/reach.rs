//! Finds the database and the broker: configured ones, or those of a running `up` on the same data folder.

use std::time::Duration;

use anyhow::Context as _;
use ingest::Queue;
use store::Store;

use crate::{
    config::{Config, ConfigError},
    embedded::{self, Running},
};

/// The longest that one statement of a reader may take: as long as an answer may.
const READING: Duration = Duration::from_secs(15);

/// Opens the database; does not ask which version it has.
pub async fn store(config: &Config) -> anyhow::Result<Store> {
    connect(config, &database_url(config)?).await
}

/// Where the database is.
pub fn database_url(config: &Config) -> anyhow::Result<String> {
    match &config.database.url {
        Some(url) => Ok(url.expose().to_owned()),
        None => found(config, "database", "DATABASE_URL", |running| running.database_url.clone()),
    }
}

/// Opens the database for readers: connections of their own, and no statement that outlives the answer it is for.
pub async fn readers(config: &Config, url: &str) -> anyhow::Result<Store> {
    let max_connections = usize::try_from(config.database.max_connections)?;
    let statement_timeout = Some(READING);
    let options = store::Options {
        max_connections,
        statement_timeout,
        readers: true,
        ..store::Options::new(url)
    };
    Ok(Store::connect(options).await?)
}

/// Opens the database and checks that it has this program's version.
pub async fn migrated_store(config: &Config) -> anyhow::Result<Store> {
    let store = store(config).await?;
    store.check_version().await?;
    Ok(store)
}

/// Opens the database at an address.
pub async fn connect(config: &Config, url: &str) -> anyhow::Result<Store> {
    let max_connections = usize::try_from(config.database.max_connections)?;
    Ok(Store::connect(store::Options { max_connections, ..store::Options::new(url) }).await?)
}

/// Opens the broker and declares what we use there.
pub async fn queue(config: &Config) -> anyhow::Result<Queue> {
    let url = match &config.queue.url {
        Some(url) => url.expose().to_owned(),
        None => found(config, "broker", "AMQP_URL", |running| running.amqp_url.clone())?,
    };
    Queue::connect(&url).await.context("RabbitMQ")
}

fn found(
    config: &Config,
    what: &str,
    variable: &str,
    pick: impl Fn(&Running) -> Option<String>,
) -> anyhow::Result<String> {
    let running = embedded::running(&config.data_dir)?;
    running.as_ref().and_then(pick).ok_or_else(|| {
        let message = format!(
            "no {what}: set {variable}, or start `xmtp-indexer up --data-dir {}` first",
            config.data_dir.display()
        );
        ConfigError::Usage(message).into()
    })
}
