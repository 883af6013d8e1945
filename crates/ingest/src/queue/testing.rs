//! Names of its own for each test on a shared broker, deleted afterwards.

use std::sync::atomic::{AtomicU32, Ordering};

use lapin::options::{ExchangeDeleteOptions, QueueDeleteOptions, QueuePurgeOptions};

use super::{Names, Queue, channel, close, topology};

/// The network of all test queues.
pub(crate) const NETWORK: &str = "test";

static SERIAL: AtomicU32 = AtomicU32::new(0);

#[expect(clippy::disallowed_methods, reason = "tests get their broker from the environment")]
pub(crate) fn broker_url() -> String {
    std::env::var("AMQP_URL")
        .expect("AMQP_URL names the broker to test on; bin/test starts one and sets it")
}

/// A queue that no other test uses.
pub(crate) async fn queue() -> Queue {
    let prefix = format!("test-{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
    let queue = Queue::at(&broker_url(), Names::prefixed(&prefix).unwrap(), NETWORK).unwrap();
    queue.declare().await.unwrap();
    queue
}

/// Deletes the index queue while it is in use.
pub(crate) async fn delete_index(queue: &Queue) {
    let connection = queue.open("test").await.unwrap();
    let channel = channel(&connection).await.unwrap();
    channel
        .queue_delete(topology::short(&queue.names().queue), QueueDeleteOptions::default())
        .await
        .unwrap();
    close(&connection).await;
}

/// Empties the index queue.
pub(crate) async fn purge(queue: &Queue) {
    let connection = queue.open("test").await.unwrap();
    let channel = channel(&connection).await.unwrap();
    let name = topology::short(&queue.names().queue);
    channel.queue_purge(name, QueuePurgeOptions::default()).await.unwrap();
    close(&connection).await;
}

/// Deletes everything.
pub(crate) async fn clean_up(queue: &Queue) {
    let connection = queue.open("test").await.unwrap();
    let channel = channel(&connection).await.unwrap();
    let names = queue.names();
    for name in [&names.queue, &names.parked] {
        channel.queue_delete(topology::short(name), QueueDeleteOptions::default()).await.unwrap();
    }
    for name in [&names.exchange, &names.parked, &names.indexed] {
        channel
            .exchange_delete(topology::short(name), ExchangeDeleteOptions::default())
            .await
            .unwrap();
    }
    close(&connection).await;
}
