//! Pages into the queue: nothing counts until the broker has confirmed it.
//!
//! Every page that [`Publisher::send`] took in stays in memory until the broker confirms it, and is sent again on a new
//! connection after anything else: a nack, a return, a confirm that does not come, a lost connection. Duplicates are the
//! price, and the log does not mind them. Memory is bounded by bytes (`spill_bytes`); when they are used up `send` waits.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::window::{Trouble, Verdict, Window};
use super::{Queue, channel, close, done_with, page, topology, within};
use crate::back_off::BackOff;
use crate::error::{Error, Result};

/// How much may be on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PublisherOptions {
    /// Pages sent and not confirmed.
    pub window_pages: usize,
    /// Bytes sent and not confirmed.
    pub window_bytes: usize,
    /// Bytes taken in and not confirmed, sent or not: what a source may run ahead of a broker that is away.
    pub spill_bytes: usize,
    /// After this long without a confirm its outcome counts as unknown.
    #[serde(with = "crate::seconds")]
    pub confirm_timeout: Duration,
}

impl Default for PublisherOptions {
    fn default() -> Self {
        Self {
            window_pages: 32,
            window_bytes: 8 << 20,
            spill_bytes: 64 << 20,
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
        let (told, confirmed) = watch::channel(0);
        // A semaphore counts in u32, and no page may be larger than all of it.
        let spill_bytes = options.spill_bytes.clamp(page::MAX_BODY_BYTES, u32::MAX as usize);
        let spill = Arc::new(Semaphore::new(spill_bytes));
        let publisher = Self {
            outgoing,
            numbers: Arc::default(),
            spill: Arc::clone(&spill),
            spill_bytes,
            confirmed,
        };
        let sender = Sender {
            queue,
            options,
            incoming: Some(incoming),
            window: Window::default(),
            confirmed: told,
            spill: Arc::clone(&spill),
            run: uuid::Uuid::new_v4().simple().to_string(),
            back_off: BackOff::for_services(),
        };
        let task = tokio::spawn(async move {
            let _ = stop.run_until_cancelled(sender.run()).await;
            // Whoever waits for room waits in vain.
            spill.close();
        });
        (publisher, task)
    }

    /// Takes in the body of a page and tells its number, counted from one. Waits while the spill is full.
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
        self.send(page::encode(page)?).await
    }

    /// Waits until everything up to this number is confirmed.
    ///
    /// # Errors
    /// When the publisher stopped before that.
    pub async fn confirmed(&self, number: u64) -> Result<()> {
        let mut confirmed = self.confirmed.clone();
        confirmed.wait_for(|last| *last >= number).await.map(|_| ()).map_err(|_| Error::Unconfirmed)
    }

    /// Everything up to this number is confirmed.
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

/// Why a connection was given up.
enum Ended {
    Drained,
    Broken(Error),
    Troubled(Trouble),
    Overdue,
}

impl Ended {
    fn reason(&self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Broken(_) | Self::Troubled(Trouble::Lost(_)) => "connection",
            Self::Troubled(Trouble::Returned) => "returned",
            Self::Troubled(Trouble::Refused) => "refused",
            Self::Overdue => "overdue",
        }
    }

    fn why(&self) -> String {
        match self {
            Self::Drained => String::new(),
            Self::Broken(error) => error.to_string(),
            Self::Troubled(Trouble::Lost(why)) => why.clone(),
            Self::Troubled(Trouble::Returned) => {
                "RabbitMQ had no queue for a page: the queue is declared again".into()
            }
            Self::Troubled(Trouble::Refused) => "RabbitMQ refused a page (nack)".into(),
            Self::Overdue => "RabbitMQ did not confirm in time".into(),
        }
    }
}

type Confirm = std::pin::Pin<Box<dyn Future<Output = Verdict> + Send>>;

struct Sender {
    queue: Queue,
    options: PublisherOptions,
    /// `None` once every publisher is dropped.
    incoming: Option<mpsc::Receiver<Outgoing>>,
    window: Window<Confirm>,
    confirmed: watch::Sender<u64>,
    spill: Arc<Semaphore>,
    run: String,
    back_off: BackOff,
}

impl Sender {
    async fn run(mut self) {
        loop {
            let ended = match self.connection().await {
                Ok(ended) => ended,
                Err(error) => Ended::Broken(error),
            };
            self.window.forget_confirms();
            if matches!(ended, Ended::Drained) {
                return;
            }
            metrics::counter!("xmtp_indexer_publisher_reconnects_total", "reason" => ended.reason()).increment(1);
            let wait = self.back_off.next();
            tracing::warn!(reason = ended.why(), unconfirmed = self.window.len(), retry_in = ?wait, "publishing pauses");
            tokio::time::sleep(wait).await;
        }
    }

    /// The life of one connection.
    async fn connection(&mut self) -> Result<Ended> {
        let connection = self.queue.open("publisher").await?;
        let channel = within("open a channel", async {
            let channel = channel(&connection).await?;
            topology::declare(&channel, self.queue.names()).await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await
                .map_err(|error| Error::broker("ask for confirms", error))?;
            Ok(channel)
        })
        .await?;
        let ended = self.publish_on(&connection, &channel).await;
        if !matches!(ended, Ended::Broken(_)) {
            done_with(&channel).await;
            close(&connection).await;
        }
        Ok(ended)
    }

    async fn publish_on(&mut self, connection: &lapin::Connection, channel: &Channel) -> Ended {
        loop {
            if let Err(ended) = self.send_unsent(channel).await {
                return ended;
            }
            if self.incoming.is_none() && self.window.is_empty() {
                return Ended::Drained;
            }
            let room = self.window.len() < self.options.window_pages
                && self.window.bytes() < self.options.window_bytes.max(1);
            let blocked = connection.status().blocked();
            metrics::gauge!("xmtp_indexer_publisher_blocked").set(f64::from(u8::from(blocked)));
            // A broker that says it is short of memory or disk is alive: its confirms come when the alarm ends.
            let patience = self.options.confirm_timeout * if blocked { 10 } else { 1 };
            let overdue = self.window.oldest().map(|sent| sent + patience);
            if overdue.is_some_and(|overdue| overdue <= Instant::now()) {
                return Ended::Overdue;
            }
            tokio::select! {
                settled = std::future::poll_fn(|context| self.window.poll_settled(context)) => {
                    self.release();
                    match settled {
                        Ok(()) => self.back_off.reset(),
                        Err(trouble) => return Ended::Troubled(trouble),
                    }
                }
                page = receive(&mut self.incoming), if room => match page {
                    Some(Outgoing { number, body }) => {
                        let id = format!("{}-{number}", self.run);
                        self.window.take_in(number, id, body, Instant::now());
                    }
                    None => self.incoming = None,
                },
                // Judged at the top of the loop: the broker may have reported an alarm meanwhile.
                () = until(overdue) => {}
                () = lost(connection) => {
                    return Ended::Troubled(Trouble::Lost("the connection to RabbitMQ is lost".into()));
                }
            }
        }
    }

    fn release(&mut self) {
        if let Some((number, bytes)) = self.window.release() {
            self.spill.add_permits(bytes);
            self.confirmed.send_replace(number);
        }
    }

    async fn send_unsent(&mut self, channel: &Channel) -> Result<(), Ended> {
        while let Some(entry) = self.window.unsent() {
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_message_id(entry.id.as_str().into())
                .with_content_type("application/x-protobuf".into())
                .with_app_id("xmtp-indexer".into());
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let exchange = topology::short(&self.queue.names().exchange);
            let publishing = channel.basic_publish(
                exchange,
                topology::INDEX.into(),
                options,
                &entry.body,
                properties,
            );
            // A blocked broker stops reading: even handing a page over may not come to an end.
            let published = tokio::time::timeout(self.options.confirm_timeout * 10, publishing);
            let number = entry.number;
            match published.await {
                Ok(Ok(confirm)) => {
                    self.window.sent(number, Box::pin(verdict(confirm)), Instant::now())
                }
                Ok(Err(error)) => return Err(Ended::Broken(Error::broker("publish", error))),
                Err(_) => return Err(Ended::Overdue),
            }
            metrics::counter!("xmtp_indexer_pages_published_total").increment(1);
        }
        Ok(())
    }
}

async fn verdict(confirm: PublisherConfirm) -> Verdict {
    match confirm.await {
        Ok(Confirmation::Ack(None)) => Verdict::Held,
        Ok(Confirmation::Ack(Some(returned))) => Verdict::Returned(
            returned.delivery.properties.message_id().as_ref().map(ToString::to_string),
        ),
        Ok(Confirmation::Nack(None)) => Verdict::Refused,
        // Refused, and some other page returned: nothing is sure.
        Ok(Confirmation::Nack(Some(_))) => Verdict::Returned(None),
        Ok(Confirmation::NotRequested) => Verdict::Lost("the channel does not confirm".into()),
        Err(error) => Verdict::Lost(error.to_string()),
    }
}

async fn receive(incoming: &mut Option<mpsc::Receiver<Outgoing>>) -> Option<Outgoing> {
    match incoming {
        Some(incoming) => incoming.recv().await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Resolves when the connection is no longer usable. An idle publisher has no confirm that would tell.
async fn lost(connection: &lapin::Connection) {
    while connection.status().connected() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
