//! Import: envelopes from files take the same path as all others: pages, the queue, the log.

use std::collections::VecDeque;

use serde::Serialize;
use store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::Envelope;

use crate::error::Result;
use crate::pager::PageOptions;
use crate::queue::Queue;
use crate::queue::publisher::{Publisher, PublisherOptions};
use crate::source::{Outbox, Ticket};

/// Where an import publishes, and its options.
#[derive(Clone, Debug)]
pub struct Import {
    /// The queue that envelopes go into.
    pub queue: Queue,
    /// Where envelopes that do not fit into a page are parked.
    pub store: Store,
    /// The name of the source of the envelopes.
    pub source: String,
    /// The limits of pages.
    pub pages: PageOptions,
}

/// The progress of an import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Envelopes that were handed to the publisher.
    pub envelopes: u64,
    /// Bytes of their topics and messages.
    pub bytes: u64,
    /// How many of the envelopes are safe: the broker has confirmed their pages, or they were parked.
    pub confirmed: u64,
    /// Whether every envelope was read and is safe.
    pub complete: bool,
}

/// Envelopes that are handed to the publisher at once: a few pages.
const CHUNK: usize = 1_024;
/// Bytes likewise.
const CHUNK_BYTES: u64 = 1 << 20;

/// Chunks whose pages are on their way: the number of the last page, and how many envelopes there were up to it.
#[derive(Default)]
struct Sent(VecDeque<(Ticket, u64)>);

impl Sent {
    /// How many envelopes are safe when the broker has confirmed the pages up to this one.
    fn confirmed(&mut self, last_page: Ticket, done: &mut Imported) {
        while let Some((page, envelopes)) = self.0.front()
            && *page <= last_page
        {
            done.confirmed = *envelopes;
            self.0.pop_front();
        }
    }
}

/// Imports envelopes until there are no more or it is cancelled, and returns when the broker has confirmed everything, or
/// at once when it is cancelled. Importing the same envelopes again changes nothing.
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
    let congested = PublisherOptions::default().window_bytes;
    let outbox = Outbox::new(publisher, import.store, &import.source, import.pages, congested);
    let mut envelopes = envelopes.into_iter();
    let (mut done, mut sent) = (Imported::default(), Sent::default());
    let mut last = Ticket::default();
    let read_all = loop {
        let (mut chunk, mut bytes) = (Vec::with_capacity(CHUNK), 0);
        for envelope in envelopes.by_ref() {
            bytes += (envelope.topic.len() + envelope.message.len()) as u64;
            chunk.push(envelope);
            if chunk.len() >= CHUNK || bytes >= CHUNK_BYTES {
                break;
            }
        }
        if chunk.is_empty() {
            break true;
        }
        let count = chunk.len() as u64;
        tokio::select! {
            () = token.cancelled() => break false,
            put = outbox.put(chunk.into_iter().map(Into::into), &token) => last = put?.max(last),
        }
        done.envelopes += count;
        done.bytes += bytes;
        sent.0.push_back((last, done.envelopes));
        sent.confirmed(outbox.last_confirmed(), &mut done);
        progress.send_replace(done);
    };
    tokio::select! {
        // The broker may be away, and a cancelled import must not wait for it.
        () = token.cancelled() => {}
        confirmed = outbox.confirmed(last) => confirmed?,
    }
    sent.confirmed(outbox.last_confirmed(), &mut done);
    done.complete = read_all && done.confirmed == done.envelopes;
    drop(outbox);
    if done.complete {
        let _ = publishing.await;
    }
    progress.send_replace(done);
    Ok(done)
}
