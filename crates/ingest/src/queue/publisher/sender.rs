//! The task behind a [`Publisher`](super::Publisher): one connection at a time, pages in order.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Connection, PublisherConfirm};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;

use super::{Outgoing, PublisherOptions};
use crate::back_off::BackOff;
use crate::error::{Error, Result};
use crate::queue::window::{Verdict, Window};
use crate::queue::{PATIENCE, Queue, channel, close, declare, done_with, topology, within};

/// Why a connection ended.
enum Ended {
    Drained,
    Broken(Error),
    Lost(String),
    Refused,
    Overdue(Duration),
}

impl Ended {
    fn label(&self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Broken(_) | Self::Lost(_) => "connection",
            Self::Refused => "refused",
            Self::Overdue(_) => "overdue",
        }
    }

    fn reason(&self, queue: &Queue) -> String {
        match self {
            Self::Drained => String::new(),
            Self::Broken(error) => error.to_string(),
            Self::Lost(why) => why.clone(),
            Self::Refused => format!(
                "RabbitMQ refuses a page again and again (nack); is the queue `{}` full, or has it lost its leader?",
                queue.names().queue
            ),
            Self::Overdue(limit) => format!(
                "RabbitMQ has not confirmed a page within {} s; has the queue `{}` a leader (`rabbitmq-queues quorum_status`)?",
                limit.as_secs(),
                queue.names().queue
            ),
        }
    }
}

/// How often the connection is looked at while nothing else happens.
const TICK: Duration = Duration::from_millis(500);

type Confirm = std::pin::Pin<Box<dyn Future<Output = Verdict> + Send>>;

pub(super) struct Sender {
    queue: Queue,
    options: PublisherOptions,
    /// `None` once every publisher is dropped.
    incoming: Option<mpsc::Receiver<Outgoing>>,
    window: Window<Confirm>,
    confirmed: watch::Sender<u64>,
    spill: Arc<Semaphore>,
    /// Begins the ids of this run's messages.
    run: String,
    back_off: BackOff,
    connected_at: Option<Instant>,
}

impl Sender {
    pub(super) fn new(
        queue: Queue,
        options: PublisherOptions,
        incoming: mpsc::Receiver<Outgoing>,
        confirmed: watch::Sender<u64>,
        spill: Arc<Semaphore>,
    ) -> Self {
        Self {
            queue,
            options,
            incoming: Some(incoming),
            window: Window::default(),
            confirmed,
            spill,
            run: uuid::Uuid::new_v4().simple().to_string(),
            back_off: BackOff::for_services(),
            connected_at: None,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            self.connected_at = None;
            let ended = match self.connection().await {
                Ok(ended) => ended,
                Err(error) => Ended::Broken(error),
            };
            self.window.forget_confirms();
            set_blocked(false);
            if matches!(ended, Ended::Drained) {
                return;
            }
            metrics::counter!("xmtp_indexer_publisher_reconnects_total", "reason" => ended.label())
                .increment(1);
            if matches!(ended, Ended::Overdue(_)) {
                self.queue.fails(ended.reason(&self.queue));
            }
            let wait =
                self.back_off.after(self.connected_at.map_or(Duration::ZERO, |at| at.elapsed()));
            tracing::warn!(
                reason = ended.reason(&self.queue), unconfirmed = self.window.len(), retry_in = ?wait,
                "publishing pauses"
            );
            tokio::time::sleep(wait).await;
        }
    }

    /// The life of one connection.
    async fn connection(&mut self) -> Result<Ended> {
        let connection = self.queue.open("publisher").await?;
        declare(&connection, self.queue.names()).await?;
        let channel = within("open a channel", PATIENCE, async {
            let channel = channel(&connection).await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await
                .map_err(|error| Error::broker("ask for confirms", error))?;
            Ok(channel)
        })
        .await?;
        self.connected_at = Some(Instant::now());
        let ended = self.publish_on(&connection, &channel).await;
        if !matches!(ended, Ended::Broken(_)) {
            done_with(&channel).await;
            close(&connection).await;
        }
        Ok(ended)
    }

    async fn publish_on(&mut self, connection: &Connection, channel: &Channel) -> Ended {
        let mut alarm = Alarm::default();
        loop {
            if let Err(ended) = self.send_unsent(connection, channel, &mut alarm).await {
                return ended;
            }
            if self.incoming.is_none() && self.window.is_empty() {
                return Ended::Drained;
            }
            let room = self.window.len() < self.options.window_pages
                && self.window.bytes() < self.options.window_bytes.max(1);
            let oldest = self.window.oldest();
            let patience = self.options.confirm_timeout;
            if oldest.is_some_and(|sent| alarm.is_overdue(connection, sent, patience)) {
                return Ended::Overdue(patience);
            }
            let again = self.window.next_again();
            tokio::select! {
                answers = std::future::poll_fn(|context| self.window.poll_answers(Instant::now(), context)) => {
                    self.release();
                    if let Some(why) = answers.lost {
                        return Ended::Lost(why);
                    }
                    self.report(answers.returned, answers.refused);
                    if self.window.is_stuck() {
                        return Ended::Refused;
                    }
                    // A page that was returned finds its queue when it is sent again.
                    if answers.returned > 0 && let Err(error) = declare(connection, self.queue.names()).await {
                        return Ended::Broken(error);
                    }
                }
                page = receive(&mut self.incoming), if room => match page {
                    Some(Outgoing { number, body }) => {
                        let id = format!("{}-{number}", self.run);
                        self.window.take_in(number, id, body, Instant::now());
                    }
                    None => self.incoming = None,
                },
                () = until(again) => {}
                // An idle publisher has no confirm that would show a lost connection, and alarms begin and end unasked.
                () = tokio::time::sleep(TICK) => {
                    if !connection.status().connected() {
                        return Ended::Lost("the connection to RabbitMQ is lost".into());
                    }
                }
            }
        }
    }

    fn release(&mut self) {
        if let Some((number, bytes)) = self.window.release() {
            self.spill.add_permits(bytes);
            self.confirmed.send_replace(number);
            self.queue.is_working();
        }
    }

    fn report(&self, returned: usize, refused: usize) {
        let queue = &self.queue.names().queue;
        for (count, outcome) in [(returned, "returned"), (refused, "refused")] {
            if count > 0 {
                metrics::counter!("xmtp_indexer_publisher_resent_total", "reason" => outcome)
                    .increment(u64::try_from(count).unwrap_or(u64::MAX));
                tracing::debug!(
                    pages = count,
                    outcome,
                    queue,
                    "RabbitMQ did not take pages; they are sent again"
                );
            }
        }
    }

    /// Publishes what is due. Nothing is handed to a broker with an alarm: it has stopped reading.
    async fn send_unsent(
        &mut self,
        connection: &Connection,
        channel: &Channel,
        alarm: &mut Alarm,
    ) -> Result<(), Ended> {
        while let Some(entry) = self.window.unsent(Instant::now()) {
            if alarm.is_blocked(connection) {
                return Ok(());
            }
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
            let number = entry.number;
            let patience = self.options.confirm_timeout;
            match written(connection, publishing, alarm, patience).await? {
                Ok(confirm) => self.window.sent(number, Box::pin(verdict(confirm)), Instant::now()),
                Err(error) => return Err(Ended::Broken(Error::broker("publish", error))),
            }
            metrics::counter!("xmtp_indexer_pages_published_total").increment(1);
        }
        Ok(())
    }
}

/// Waits until a page is written to the socket. An alarm that begins meanwhile stops that for as long as it lasts.
async fn written<T>(
    connection: &Connection,
    publishing: impl Future<Output = T>,
    alarm: &mut Alarm,
    patience: Duration,
) -> Result<T, Ended> {
    let started = Instant::now();
    let mut publishing = std::pin::pin!(publishing);
    loop {
        tokio::select! {
            published = &mut publishing => return Ok(published),
            () = tokio::time::sleep(TICK) => {}
        }
        if !connection.status().connected() {
            return Err(Ended::Lost("the connection to RabbitMQ is lost".into()));
        }
        if alarm.is_overdue(connection, started, patience) {
            return Err(Ended::Overdue(patience));
        }
    }
}

/// Whether the broker has a memory or disk alarm, and when the last one ended. A broker with an alarm is alive (it sends
/// heartbeats): its confirms come when the alarm ends. Closing the connection instead would not end it, because the client
/// writes nothing on a blocked connection.
#[derive(Debug, Default)]
struct Alarm {
    blocked: bool,
    ended: Option<Instant>,
}

impl Alarm {
    fn is_blocked(&mut self, connection: &Connection) -> bool {
        let blocked = connection.status().blocked();
        if blocked != self.blocked {
            self.blocked = blocked;
            set_blocked(blocked);
            if blocked {
                tracing::warn!(
                    "RabbitMQ has a memory or disk alarm: publishing waits until it ends"
                );
            } else {
                self.ended = Some(Instant::now());
                tracing::info!("the alarm of RabbitMQ has ended: publishing goes on");
            }
        }
        blocked
    }

    /// Whether something has waited for too long since `since`, alarms not counted.
    fn is_overdue(&mut self, connection: &Connection, since: Instant, patience: Duration) -> bool {
        let blocked = self.is_blocked(connection);
        let since = self.ended.map_or(since, |ended| ended.max(since));
        !blocked && since.elapsed() >= patience
    }
}

fn set_blocked(blocked: bool) {
    metrics::gauge!("xmtp_indexer_publisher_blocked").set(f64::from(u8::from(blocked)));
}

async fn verdict(confirm: PublisherConfirm) -> Verdict {
    match confirm.await {
        Ok(Confirmation::Ack(None)) => Verdict::Confirmed,
        Ok(Confirmation::Ack(Some(returned))) => {
            match returned.delivery.properties.message_id().as_ref() {
                Some(id) => Verdict::Returned(id.to_string()),
                None => Verdict::Lost("RabbitMQ returned a page without its id".into()),
            }
        }
        Ok(Confirmation::Nack(None)) => Verdict::Refused,
        Ok(Confirmation::Nack(Some(_))) => {
            Verdict::Lost("RabbitMQ refused one page and returned another".into())
        }
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
