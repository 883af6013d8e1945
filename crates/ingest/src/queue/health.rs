//! Whether the queue works, and how much waits in it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lapin::options::{BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{PATIENCE, Queue, channel, close, done_with, topology, within};
use crate::error::{Error, Result};

/// How long the leader of a queue may take to answer. An election takes a few seconds.
const LEADER_PATIENCE: Duration = Duration::from_secs(8);

/// How often a worker checks a queue of which it has seen nothing meanwhile.
const CHECK_EVERY: Duration = Duration::from_secs(10);

/// What is known about the queue in this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Not checked yet, or neither worker nor publisher runs in this process.
    #[default]
    Unknown,
    /// The queue has delivered or confirmed a page, or answered a check.
    Working,
    /// The queue or the broker does not answer; the message says what to do.
    Failing(String),
}

/// The last known health, and when the queue was last seen working.
#[derive(Debug, Default)]
pub(super) struct Monitor(Mutex<(Health, Option<Instant>)>);

impl Monitor {
    /// Records a finding; logs it when it is another one than before.
    fn record(&self, found: Health) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found == Health::Working {
            state.1 = Some(Instant::now());
        }
        if state.0 == found {
            return;
        }
        match &found {
            Health::Failing(error) => tracing::error!(%error, "the queue does not work"),
            _ if state.0 != Health::Unknown => tracing::info!("the queue works again"),
            _ => {}
        }
        let working = f64::from(u8::from(found == Health::Working));
        metrics::gauge!("xmtp_indexer_queue_working").set(working);
        state.0 = found;
    }

    fn state(&self) -> (Health, Option<Instant>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How much waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Depth {
    /// Pages that no worker has taken. AMQP does not report how many are delivered and unacknowledged.
    pub ready: u32,
    /// Workers that consume.
    pub consumers: u32,
    /// Pages in the dead-letter queue.
    pub parked: u32,
}

impl Queue {
    /// What workers and publishers of this process know about the queue: with a worker at most 30 s old, plus the
    /// time-outs of connecting when no node of the broker answers.
    #[must_use]
    pub fn health(&self) -> Health {
        self.monitor.state().0
    }

    /// Why the queue does not work, if it is known that it does not.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        match self.health() {
            Health::Failing(error) => Some(error),
            Health::Working | Health::Unknown => None,
        }
    }

    /// Records that the queue does not work.
    pub(crate) fn fails(&self, error: String) {
        self.monitor.record(Health::Failing(error));
    }

    /// Records that the queue has just delivered or confirmed something.
    pub(crate) fn is_working(&self) {
        self.monitor.record(Health::Working);
    }

    /// Checks the queue until cancelled, whenever nothing has been seen of it for a while.
    pub(crate) async fn monitor(&self, token: &CancellationToken) {
        let checks = async {
            loop {
                let quiet = self.monitor.state().1.is_none_or(|at| at.elapsed() >= CHECK_EVERY);
                if quiet {
                    self.monitor.record(match self.check_leader().await {
                        Ok(()) => Health::Working,
                        Err(error) => Health::Failing(error.to_string()),
                    });
                }
                tokio::time::sleep(CHECK_EVERY).await;
            }
        };
        token.run_until_cancelled(checks).await;
    }

    /// What waits in the queue and in the dead-letter queue. Any member of a quorum queue answers, also one that has no
    /// leader: [`Queue::check_leader`] finds that.
    ///
    /// # Errors
    /// When the broker cannot be reached or a queue is missing.
    pub async fn depth(&self) -> Result<Depth> {
        let connection = self.open("depth").await?;
        let depth = within("read the queue's depth", PATIENCE, async {
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

    /// Checks that the index queue has a leader, without which it neither confirms nor delivers. Everything else about such
    /// a queue looks well: it can be declared, and its depth is a number.
    ///
    /// Of all that AMQP offers only `basic.get` asks the leader and changes nothing. A page that it returns goes back to the
    /// front of the queue when the channel closes. That counts as a delivery of the page, so callers check every few seconds
    /// and not for each request.
    ///
    /// # Errors
    /// [`Error::NoLeader`] when the broker reports it or does not answer within 8 s; any other error when the broker cannot be reached.
    pub async fn check_leader(&self) -> Result<()> {
        let connection = self.open("check").await?;
        let no_leader = |why: String| Error::NoLeader { queue: self.names.queue.clone(), why };
        let asked = tokio::time::timeout(LEADER_PATIENCE, async {
            let channel = channel(&connection).await?;
            let name = topology::short(&self.names.queue);
            channel.basic_get(name, BasicGetOptions::default()).await.map_err(|error| {
                // The node of the leader is down, and there is no other leader yet.
                match Error::internal(&error) {
                    Some(why) => no_leader(why),
                    None => Error::broker("ask the queue's leader", error),
                }
            })?;
            done_with(&channel).await;
            Ok(())
        })
        .await;
        close(&connection).await;
        let seconds = LEADER_PATIENCE.as_secs();
        asked.unwrap_or_else(|_| Err(no_leader(format!("no answer within {seconds} s"))))
    }
}
