//! Throughput of the queue alone, without node and database: an upper bound for ingest. For `bench` alone.

use std::time::{Duration, Instant};

use store::Page;
use tokio_util::sync::CancellationToken;

use super::{Queue, consumer::Session, page, publisher::Publisher, publisher::PublisherOptions};
use crate::error::Result;

/// Publishes pages with confirms, takes them back, decodes and acknowledges them; returns how long that took.
///
/// # Errors
/// When the broker fails.
pub async fn measure(queue: &Queue, pages: Vec<Page>) -> Result<Duration> {
    queue.declare().await?;
    let count = pages.len();
    let stop = CancellationToken::new();
    let _on_drop = stop.clone().drop_guard();
    let (publisher, task) =
        Publisher::start(queue.clone(), PublisherOptions::default(), stop.clone());
    let mut session = Session::open(queue, 64).await?;
    let began = Instant::now();
    let publish = async {
        let mut last = 0;
        for page in pages {
            last = publisher.send_page(page).await?;
        }
        publisher.confirmed(last).await
    };
    let consume = async {
        for taken in 1..=count {
            let delivery = session.next().await?;
            page::decode(delivery.body, queue.network()).ok();
            if taken % 16 == 0 || taken == count {
                session.ack_through(delivery.tag).await?;
            }
        }
        Ok(())
    };
    tokio::try_join!(publish, consume)?;
    let took = began.elapsed();
    stop.cancel();
    let _ = task.await;
    Ok(took)
}
