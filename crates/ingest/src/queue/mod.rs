//! The RabbitMQ side: pages go in confirmed, and come out to be acknowledged.

pub mod limit;
pub mod page;
pub mod publisher;

pub(crate) mod consumer;
pub(crate) mod settle;
pub(crate) mod topology;
pub(crate) mod window;

#[cfg(test)]
mod edge_tests;
#[cfg(test)]
pub(crate) mod testing;

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};

use crate::error::{Error, Result};
pub use topology::Names;

/// How long the broker gets for one answer while connecting and declaring.
const PATIENCE: Duration = Duration::from_secs(30);

/// A broker and the names in it. Cheap to clone; each publisher and each consumer opens its own connection, so that a
/// broker that blocks publishers does not stop consumers.
#[derive(Clone)]
pub struct Queue {
    uri: Arc<AMQPUri>,
    names: Arc<Names>,
}

impl std::fmt::Debug for Queue {
    /// Never prints the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let authority = &self.uri.authority;
        write!(f, "Queue({}:{}/{})", authority.host, authority.port, self.uri.vhost)
    }
}

/// How much is waiting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    /// Pages that no worker has taken. AMQP does not tell how many are taken and unacknowledged.
    pub ready: u32,
    /// Workers that take pages.
    pub consumers: u32,
    /// Pages that the broker gave up on.
    pub parked: u32,
}

impl Queue {
    /// Reaches the broker once and declares everything, so that a wrong address, user or queue is told at the start.
    ///
    /// # Errors
    /// When the broker cannot be reached or will not declare what is needed.
    pub async fn connect(url: &str) -> Result<Self> {
        let queue = Self::at(url, Names::default())?;
        queue.declare().await?;
        Ok(queue)
    }

    /// The same without asking the broker anything: publishers and workers wait for it.
    ///
    /// # Errors
    /// When the address cannot be read.
    pub fn at(url: &str, names: Names) -> Result<Self> {
        let mut uri =
            AMQPUri::from_str(url).map_err(|error| Error::Address(error.replace(url, "…")))?;
        // Notices a dead peer within half a minute when nothing else does.
        uri.query.heartbeat.get_or_insert(15);
        uri.query.connection_timeout.get_or_insert(10_000);
        Ok(Self { uri: Arc::new(uri), names: Arc::new(names) })
    }

    /// Declares exchanges and queues; harmless when they exist.
    ///
    /// # Errors
    /// When the broker cannot be reached or holds something else under one of the names.
    pub async fn declare(&self) -> Result<()> {
        let connection = self.open("declare").await?;
        let declared = within("declare the queues", async {
            let channel = channel(&connection).await?;
            topology::declare(&channel, &self.names).await?;
            done_with(&channel).await;
            Ok(())
        })
        .await;
        close(&connection).await;
        declared
    }

    /// What waits in the queue and what is parked.
    ///
    /// # Errors
    /// When the broker cannot be reached or a queue is missing.
    pub async fn depth(&self) -> Result<Depth> {
        let connection = self.open("depth").await?;
        let depth = within("read the queue's depth", async {
            let channel = channel(&connection).await?;
            let passive = QueueDeclareOptions::durable().passive();
            let mut found = Vec::new();
            for name in [&self.names.queue, &self.names.parked] {
                let queue = channel
                    .queue_declare(topology::short(name), passive, FieldTable::default())
                    .await
                    .map_err(|error| Error::broker("read the queue's depth", error))?;
                found.push((queue.message_count(), queue.consumer_count()));
            }
            done_with(&channel).await;
            let (ready, consumers) = found[0];
            Ok(Depth { ready, consumers, parked: found[1].0 })
        })
        .await;
        close(&connection).await;
        depth
    }

    /// The names in use.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    pub(crate) async fn open(&self, role: &'static str) -> Result<Connection> {
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("xmtp-indexer {role}").into());
        within("connect to RabbitMQ", async {
            Connection::connect_uri((*self.uri).clone(), properties)
                .await
                .map_err(|error| Error::broker("connect to RabbitMQ", error))
        })
        .await
    }
}

/// A new channel on a connection.
pub(crate) async fn channel(connection: &Connection) -> Result<lapin::Channel> {
    connection.create_channel().await.map_err(|error| Error::broker("open a channel", error))
}

/// Ends a channel before its connection ends: a channel that is merely dropped says so too late, and the client library
/// then reports an error that is none.
pub(crate) async fn done_with(channel: &lapin::Channel) {
    let _ = tokio::time::timeout(Duration::from_secs(5), channel.close(200, "done".into())).await;
}

/// Ends a connection politely, but not at any price: the broker may be gone.
pub(crate) async fn close(connection: &Connection) {
    let _ =
        tokio::time::timeout(Duration::from_secs(5), connection.close(200, "done".into())).await;
}

/// No answer of the broker is waited for without end.
pub(crate) async fn within<T>(
    doing: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or(Err(Error::Silence { doing, seconds: PATIENCE.as_secs() }))
}
