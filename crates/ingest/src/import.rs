//! Envelopes from a file go the way of all others: pages, the queue, the log.

use serde::Serialize;
use store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::Envelope;

use crate::error::Result;
use crate::feed::Feed;
use crate::pager::PageOptions;
use crate::queue::Queue;
use crate::queue::publisher::{Publisher, PublisherOptions};

/// What is imported, and where to.
#[derive(Clone, Debug)]
pub struct Import {
    /// The queue that envelopes go into.
    pub queue: Queue,
    /// Where envelopes go that no page can carry.
    pub store: Store,
    /// The name that envelopes are labelled with.
    pub source: String,
    /// How large pages are.
    pub pages: PageOptions,
}

/// How far an import is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Envelopes taken in.
    pub envelopes: u64,
    /// Bytes of their topics and messages.
    pub bytes: u64,
    /// Everything was taken in, and the broker has confirmed it.
    pub complete: bool,
}

/// Envelopes that are sent off before looking around: a few pages.
const CHUNK: usize = 1_024;
/// Bytes likewise.
const CHUNK_BYTES: u64 = 1 << 20;

/// Imports envelopes until there are no more or it is cancelled. Returns when the broker has confirmed all that was taken
/// in. Importing the same again changes nothing.
///
/// # Errors
/// When database or queue fail for good.
pub async fn run(
    import: Import,
    envelopes: impl IntoIterator<Item = Envelope, IntoIter: Send> + Send,
    progress: watch::Sender<Imported>,
    token: CancellationToken,
) -> Result<Imported> {
    let stop = CancellationToken::new();
    let _on_drop = stop.clone().drop_guard();
    let (publisher, publishing) = Publisher::start(import.queue, PublisherOptions::default(), stop);
    let feed = Feed { publisher, store: import.store, source: import.source, pages: import.pages };
    let mut envelopes = envelopes.into_iter();
    let mut done = Imported::default();
    let mut last = 0;
    loop {
        let (mut chunk, mut bytes) = (Vec::with_capacity(CHUNK), 0);
        for envelope in envelopes.by_ref() {
            bytes += (envelope.topic.len() + envelope.message.len()) as u64;
            chunk.push(envelope);
            if chunk.len() >= CHUNK || bytes >= CHUNK_BYTES {
                break;
            }
        }
        if chunk.is_empty() {
            done.complete = true;
            break;
        }
        let count = chunk.len() as u64;
        tokio::select! {
            () = token.cancelled() => break,
            sent = feed.put(chunk, &token) => last = sent?.max(last),
        }
        done.envelopes += count;
        done.bytes += bytes;
        progress.send_replace(done);
    }
    tokio::select! {
        // The broker may be away: whoever cancels does not want to wait for it.
        () = token.cancelled() => done.complete = false,
        confirmed = feed.publisher.confirmed(last) => confirmed?,
    }
    drop(feed);
    if done.complete {
        let _ = publishing.await;
    }
    progress.send_replace(done);
    Ok(done)
}
