//! Publishing pages: nothing counts until the broker has confirmed it.
//!
//! Every page that [`Publisher::send`] took in stays in memory until the broker confirms it. A page that the broker refused or
//! had no queue for is sent again alone, after a wait of its own. After a lost connection, or a confirm that does not come,
//! everything unconfirmed is sent again on a new connection. Duplicates are harmless: the log knows each envelope. Memory is
//! bounded by bytes (`spill_bytes`); when they are used up `send` waits. While the broker has a memory or disk alarm the
//! publisher waits on its one connection.

mod sender;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::sender::Sender;
use super::{Queue, page};
use crate::error::{Error, Result};

/// How much may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublisherOptions {
    /// Pages sent and not confirmed.
    pub window_pages: usize,
    /// Bytes sent and not confirmed.
    pub window_bytes: usize,
    /// Bytes taken in and not confirmed, sent or not: how far a source may run ahead of a broker that is away.
    pub spill_bytes: usize,
    /// After this long without a confirm the outcome counts as unknown. Time during an alarm does not count.
    pub confirm_timeout: Duration,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            window_pages: 32,
            window_bytes: 8 << 20,
            spill_bytes: 32 << 20,
            confirm_timeout: Duration::from_secs(30),
        }
    }
}

/// Pages waiting for a connection. Small ones count little in bytes, so they are bounded by number, too.
const WAITING_PAGES: usize = 16_384;

struct Outgoing {
    number: u64,
    body: Bytes,
}

/// The sending end; clones share one connection, one order and one bound.
#[derive(Clone, Debug)]
pub struct Publisher {
    outgoing: mpsc::Sender<Outgoing>,
    numbers: Arc<Mutex<u64>>,
    spill: Arc<Semaphore>,
    spill_bytes: usize,
    confirmed: watch::Receiver<u64>,
    network: Arc<str>,
}

impl Publisher {
    /// Starts publishing in a task of its own. It ends when every clone is dropped and everything is confirmed, or at once
    /// when `stop` is cancelled.
    #[must_use]
    pub fn start(
        queue: Queue,
        options: PublisherOptions,
        stop: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let (outgoing, incoming) = mpsc::channel(WAITING_PAGES);
        let (last_confirmed, confirmed) = watch::channel(0);
        // A semaphore counts in u32, and no page may be larger than all of it.
        let spill_bytes = options.spill_bytes.clamp(page::MAX_BODY_BYTES, u32::MAX as usize);
        let spill = Arc::new(Semaphore::new(spill_bytes));
        let publisher = Self {
            outgoing,
            numbers: Arc::default(),
            spill: Arc::clone(&spill),
            spill_bytes,
            confirmed,
            network: queue.network().into(),
        };
        let sender = Sender::new(queue, options, incoming, last_confirmed, Arc::clone(&spill));
        let task = tokio::spawn(async move {
            let _ = stop.run_until_cancelled(sender.run()).await;
            // Ends the waits for room.
            spill.close();
        });
        (publisher, task)
    }

    /// Takes in the body of a page and returns its number, counted from one. Waits while the spill is full.
    ///
    /// # Errors
    /// When the publisher has been stopped.
    pub async fn send(&self, body: Bytes) -> Result<u64> {
        let bytes = u32::try_from(body.len().min(self.spill_bytes)).unwrap_or(u32::MAX);
        let room = self.spill.acquire_many(bytes).await.map_err(|_| Error::Unconfirmed)?;
        let place = self.outgoing.reserve().await.map_err(|_| Error::Unconfirmed)?;
        room.forget();
        // Numbered and sent under one lock: the order of numbers is the order of sending.
        let mut numbers = self.numbers.lock().unwrap_or_else(PoisonError::into_inner);
        *numbers += 1;
        place.send(Outgoing { number: *numbers, body });
        Ok(*numbers)
    }

    /// Encodes a page and takes it in.
    ///
    /// # Errors
    /// When the publisher has been stopped, or the page is not encodable; see [`page::encode`].
    pub async fn send_page(&self, page: store::Page) -> Result<u64> {
        self.send(page::encode(page, &self.network)?).await
    }

    /// Waits until everything up to this number is confirmed.
    ///
    /// # Errors
    /// When the publisher stopped before that.
    pub async fn confirmed(&self, number: u64) -> Result<()> {
        let mut confirmed = self.confirmed.clone();
        confirmed.wait_for(|last| *last >= number).await.map(|_| ()).map_err(|_| Error::Unconfirmed)
    }

    /// The number up to which everything is confirmed.
    #[must_use]
    pub fn last_confirmed(&self) -> u64 {
        *self.confirmed.borrow()
    }

    /// The number of the page taken in last.
    #[must_use]
    pub fn last_sent(&self) -> u64 {
        *self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many bytes wait for a confirm.
    #[must_use]
    pub fn spilled(&self) -> usize {
        self.spill_bytes.saturating_sub(self.spill.available_permits())
    }
}
