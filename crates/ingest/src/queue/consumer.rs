//! Consuming pages: one connection, one channel, and the deliveries that belong to it.
//!
//! A delivery tag is valid on its own channel only. A [`Session`] keeps both together: when the channel closes the session
//! ends, its tags with it, and the broker delivers the pages again. So a stale tag cannot reach a new channel.

use bytes::Bytes;
use futures::StreamExt;
use lapin::options::{BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

use super::{PATIENCE, Queue, channel, topology, within};
use crate::error::{Error, Result};

/// A message that was delivered and is not settled yet.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) tag: u64,
    pub(crate) redelivered: bool,
    pub(crate) body: Bytes,
}

/// A consumer on a channel of its own.
pub(crate) struct Session {
    pub(super) connection: Connection,
    pub(super) channel: Channel,
    consumer: lapin::Consumer,
}

impl Session {
    /// Starts consuming with at most `prefetch` deliveries unsettled.
    pub(crate) async fn open(queue: &Queue, prefetch: u16) -> Result<Self> {
        let connection = queue.open("worker").await?;
        within("start consuming", PATIENCE, async {
            let channel = channel(&connection).await?;
            topology::declare(&channel, queue.names()).await?;
            let failed = |error| Error::broker("start consuming", error);
            // Before consuming: without a bound the broker sends all it has.
            channel.basic_qos(prefetch, BasicQosOptions::default()).await.map_err(failed)?;
            let consumer = channel
                .basic_consume(
                    topology::short(&queue.names().queue),
                    "".into(),
                    BasicConsumeOptions::default(),
                    FieldTable::default(),
                )
                .await
                .map_err(failed)?;
            Ok(Self { connection, channel, consumer })
        })
        .await
    }

    /// The next delivery. Safe to drop while waiting.
    pub(crate) async fn next(&mut self) -> Result<Delivery> {
        match self.consumer.next().await {
            Some(Ok(delivery)) => Ok(Delivery {
                tag: delivery.delivery_tag,
                redelivered: delivery.redelivered,
                body: delivery.data.into(),
            }),
            Some(Err(error)) => Err(Error::broker("consume", error)),
            None => Err(Error::Broker {
                doing: "consume",
                why: "RabbitMQ cancelled the consumer: was the queue deleted?".into(),
                source: Box::new(lapin::ErrorKind::FutureCompleted.into()),
            }),
        }
    }
}
