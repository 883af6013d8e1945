//! Finds the database and the broker: configured ones, or those of a running `up` on the same data folder.

use std::time::Duration;

use anyhow::Context as _;
use embedded::{EmbeddedError, Running};
use ingest::Queue;
use store::{
    Store,
    grants::{BY_HAND, READER, Rights},
};

use crate::config::{Config, ConfigError};

/// Opens the database without checking its schema version.
pub async fn store(config: &Config) -> anyhow::Result<Store> {
    connect(config, &database_url(config)?).await
}

/// Returns the address of the database.
pub fn database_url(config: &Config) -> anyhow::Result<String> {
    match &config.database.url {
        Some(url) => Ok(url.expose().to_owned()),
        None => found(config, "database", "DATABASE_URL", |running| running.database_url.clone()),
    }
}

/// The network's name: that of the running `up` whose database is used, so that it need not be configured twice.
pub fn network(config: &Config) -> anyhow::Result<String> {
    let running = match config.database.url {
        None => embedded::running(&config.data_dir)?.and_then(|running| running.network),
        Some(_) => None,
    };
    Ok(running.unwrap_or_else(|| config.network.clone()))
}

/// Opens the database for readers, wherever it is.
pub async fn found_readers(config: &Config) -> anyhow::Result<Store> {
    let login = match config.database.url {
        None => embedded::running(&config.data_dir)?.and_then(|running| running.reader_url),
        Some(_) => None,
    };
    // A login of their own is enough.
    let url = match (&config.database.reader_url, &login) {
        (Some(url), _) => url.expose().to_owned(),
        (None, Some(url)) => url.clone(),
        (None, None) => database_url(config)?,
    };
    readers(config, &url, login.as_deref()).await
}

/// Opens the database for readers: connections of their own, no statement that outlives the answer it is for, and no more
/// rights than reading takes. Those come with a login of their own (`database.reader_url`, or that of the embedded
/// database), or with the readers' role, which the database's user takes on.
pub async fn readers(config: &Config, url: &str, login: Option<&str>) -> anyhow::Result<Store> {
    let own = config.database.reader_url.as_ref().map(|url| url.expose()).or(login);
    let mut options = store::Options::new(own.unwrap_or(url));
    if own.is_none() {
        let asking =
            Store::connect(store::Options { max_connections: 1, ..options.clone() }).await?;
        asking.check_version().await?;
        options.role = asking.can_become_reader().await?.then(|| READER.to_owned());
    }
    options.max_connections = usize::try_from(config.database.max_connections)?;
    // A statement has as long as the answer that it is for.
    options.statement_timeout = Some(Duration::from_secs(config.api.timeout_seconds));
    options.readers = true;
    let store = Store::connect(options).await?;
    store.check_version().await?;
    store.check_network(&network(config)?).await?;
    judge(&store.rights().await?, config.is_public())?;
    Ok(store)
}

/// Checks that a login with these rights may serve.
fn judge(rights: &Rights, public: bool) -> Result<(), ConfigError> {
    let role = &rights.role;
    if !rights.excess.is_empty() {
        let excess = rights.excess.join(", ");
        let message = format!(
            "the database's user `{role}` may do more than serving takes ({excess}): \
             set database.reader_url to a login that is a member of {READER}; \
             if there is no such role, an administrator can create it: {BY_HAND}"
        );
        if public {
            return Err(ConfigError::Usage(message));
        }
        tracing::warn!("{message}");
    } else if rights.resettable {
        tracing::info!(
            "serving as {role}, which this session could lay down again; with a login of its own \
             (database.reader_url) it could not"
        );
    }
    Ok(())
}

/// Opens the database and checks that it has this program's version.
pub async fn migrated_store(config: &Config) -> anyhow::Result<Store> {
    let store = store(config).await?;
    store.check_version().await?;
    store.check_network(&network(config)?).await?;
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
    Queue::connect(&url, config.names()?, &network(config)?).await.context("RabbitMQ")
}

fn found(
    config: &Config,
    what: &str,
    variable: &str,
    pick: impl Fn(&Running) -> Option<String>,
) -> anyhow::Result<String> {
    let running = embedded::running(&config.data_dir)?;
    let found = running.as_ref().and_then(pick);
    found.ok_or_else(|| {
        if let Some(holder) = running {
            return EmbeddedError::NotAnnounced { what: what.to_owned(), pid: holder.pid }.into();
        }
        let message = format!(
            "no {what}: set {variable}, or start `xmtp-indexer up --data-dir {}` first",
            config.data_dir.display()
        );
        ConfigError::Usage(message).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_do_more_than_read_does_not_serve_the_public() {
        let rights = |excess: &[&str]| Rights {
            role: "me".into(),
            resettable: false,
            excess: excess.iter().map(|word| (*word).to_owned()).collect(),
        };
        assert!(judge(&rights(&[]), true).is_ok());
        assert!(judge(&rights(&["it may write"]), false).is_ok());
        let said = judge(&rights(&["it may write"]), true).unwrap_err().to_string();
        assert!(said.contains("`me`") && said.contains("it may write"), "{said}");
        assert!(said.contains("database.reader_url") && said.contains(READER), "{said}");
    }
}
