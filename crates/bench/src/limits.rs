//! What nothing on this machine can beat: the broker alone, COPY of the same rows into the same table alone.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use devnet::generate::{Config, Traffic};
use ingest::{PageOptions, Queue};
use store::{Page, Store};
use wire::Envelope;

/// Envelopes a second.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Limits {
    /// The same pages, published with confirms, consumed and acknowledged; nothing else.
    pub broker: f64,
    /// The same rows, by COPY on one connection into a table with the log's columns and indexes.
    pub copy: f64,
    /// The mean size of the messages, in bytes.
    pub message_bytes: f64,
}

/// Envelopes of the kind that the benchmark drives.
pub fn envelopes(count: usize) -> Vec<Envelope> {
    let mut traffic = Traffic::new(99, Config::default());
    let mut now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(0));
    let mut made = Vec::with_capacity(count + 8);
    while made.len() < count {
        now += 1_000_000;
        made.extend(traffic.next(now));
    }
    made
}

/// A page of these envelopes.
pub fn page(envelopes: impl IntoIterator<Item = Envelope>) -> Page {
    let records = envelopes.into_iter().map(Into::into).collect();
    Page { source: "bench".into(), progress: Vec::new(), records }
}

/// Measures both, one after the other.
pub async fn measure(store: &Store, queue_url: &str, count: usize) -> anyhow::Result<Limits> {
    let envelopes = envelopes(count);
    let bytes: usize = envelopes.iter().map(|envelope| envelope.message.len()).sum();
    let pages: Vec<Page> = envelopes
        .chunks(PageOptions::default().envelopes)
        .map(|part| page(part.iter().cloned()))
        .collect();
    let queue = Queue::at(queue_url, ingest::Names::prefixed("bench")?, "bench")?;
    let took = ingest::queue::limit::measure(&queue, pages).await?;
    let rate = |took: Duration| envelopes.len() as f64 / took.as_secs_f64();
    let broker = rate(took);
    let began = Instant::now();
    store.copy_limit(&envelopes, 4_096).await?;
    Ok(Limits {
        broker,
        copy: rate(began.elapsed()),
        message_bytes: bytes as f64 / envelopes.len() as f64,
    })
}
