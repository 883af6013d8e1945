//! The RabbitMQ side: pages are published with confirms, consumed, and acknowledged.

pub mod limit;
pub mod page;
pub mod publisher;

mod address;
pub(crate) mod consumer;
mod health;
pub(crate) mod settle;
pub(crate) mod topology;
pub(crate) mod window;

#[cfg(test)]
mod address_tests;
#[cfg(test)]
mod edge_tests;
#[cfg(test)]
pub(crate) mod testing;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

use self::address::Address;
use crate::error::{Error, Result};
use health::Monitor;
pub use health::{Depth, Health};
pub use topology::Names;

/// How long the broker gets for one answer after connecting.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker, the names in it, and the network whose pages they hold. Cheap to clone; each publisher and each consumer opens
/// its own connection, so that a broker that blocks publishers does not stop consumers.
#[derive(Clone, Debug)]
pub struct Queue {
    address: Arc<Address>,
    names: Arc<Names>,
    network: Arc<str>,
    /// Index of the node that answered last: the next connection begins there.
    preferred: Arc<AtomicUsize>,
    monitor: Arc<Monitor>,
}

impl Queue {
    /// Connects once and declares everything, so that a wrong address, user or queue shows at the start.
    ///
    /// # Errors
    /// When no node of the broker can be reached, or the broker refuses to declare what is needed.
    pub async fn connect(url: &str, names: Names, network: &str) -> Result<Self> {
        let queue = Self::at(url, names, network)?;
        queue.declare().await?;
        Ok(queue)
    }

    /// Parses the address without connecting: publishers and workers wait for the broker.
    ///
    /// # Errors
    /// When the address cannot be parsed, or the network's name is empty or longer than 255 bytes.
    pub fn at(url: &str, names: Names, network: &str) -> Result<Self> {
        check_network_name(network)?;
        Ok(Self {
            address: Arc::new(Address::parse(url)?),
            names: Arc::new(names),
            network: network.into(),
            preferred: Arc::default(),
            monitor: Arc::default(),
        })
    }

    /// Declares exchanges and queues; harmless when they exist.
    ///
    /// # Errors
    /// When no node of the broker can be reached, or something else exists under one of the names.
    pub async fn declare(&self) -> Result<()> {
        let connection = self.open("declare").await?;
        let declared = declare(&connection, &self.names).await;
        close(&connection).await;
        declared
    }

    /// The names in use.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The network whose pages are published and consumed.
    #[must_use]
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Connects to the first node that accepts, beginning with the one that did last.
    pub(crate) async fn open(&self, role: &'static str) -> Result<Connection> {
        let nodes = &self.address.nodes;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut failures = Vec::new();
        for index in (first..first + nodes.len()).map(|index| index % nodes.len()) {
            match self.dial(&nodes[index], role).await {
                Ok(connection) => {
                    self.preferred.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                Err(error) => failures.push((&nodes[index], error)),
            }
        }
        match failures.pop() {
            Some((_, error)) if failures.is_empty() => Err(error),
            last => Err(Error::NoNode {
                transient: failures.iter().chain(&last).any(|(_, error)| error.is_transient()),
                reasons: (failures.into_iter().chain(last))
                    .map(|(node, error)| format!("{}: {error}", address::target(node)))
                    .collect::<Vec<_>>()
                    .join("; "),
            }),
        }
    }

    async fn dial(&self, node: &AMQPUri, role: &'static str) -> Result<Connection> {
        let name = format!("xmtp-indexer {role}");
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let failed = |error| Error::broker("connect to RabbitMQ", error);
        let runtime = lapin::runtime::default_runtime().map_err(failed)?;
        let limit = node.query.connection_timeout.map_or(PATIENCE, Duration::from_millis);
        let tls = self.address.tls();
        within("connect to RabbitMQ", limit, async {
            Connection::connect_uri_with_config(node.clone(), properties, tls, runtime)
                .await
                .map_err(failed)
        })
        .await
    }
}

/// Checks that a network's name can stand in a page.
///
/// # Errors
/// When it is empty, longer than 255 bytes, or has a NUL in it.
pub fn check_network_name(network: &str) -> Result<()> {
    match page::is_name(network) {
        true => Ok(()),
        false => Err(Error::NetworkName(network.to_owned())),
    }
}

/// Declares exchanges and queues on a channel of its own.
pub(crate) async fn declare(connection: &Connection, names: &Names) -> Result<()> {
    within("declare the queues", PATIENCE, async {
        let channel = channel(connection).await?;
        topology::declare(&channel, names).await?;
        done_with(&channel).await;
        Ok(())
    })
    .await
}

/// A new channel on a connection.
pub(crate) async fn channel(connection: &Connection) -> Result<lapin::Channel> {
    connection.create_channel().await.map_err(|error| Error::broker("open a channel", error))
}

/// Closes a channel before its connection: a channel that is merely dropped closes too late, and the client library then
/// reports an error that is none.
pub(crate) async fn done_with(channel: &lapin::Channel) {
    let _ = tokio::time::timeout(Duration::from_secs(5), channel.close(200, "done".into())).await;
}

/// Closes a connection, and waits 5 s for it at most: the broker may be gone.
pub(crate) async fn close(connection: &Connection) {
    let _ =
        tokio::time::timeout(Duration::from_secs(5), connection.close(200, "done".into())).await;
}

/// Bounds the wait for an answer of the broker.
pub(crate) async fn within<T>(
    doing: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout(limit, work)
        .await
        .unwrap_or(Err(Error::Silence { doing, seconds: limit.as_secs() }))
}
