//! What the broker must hold: declared at every start, the same each time.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::error::{Error, Result};

/// Deliveries of one message before the broker gives up on it. A crash loop of ours counts, so it must never be reached by
/// one; and it must be stated, since RabbitMQ 4 has a low one by default.
const DELIVERY_LIMIT: i32 = 1_000;

/// Routing keys: of pages for the log, and of what the broker gave up on.
pub(crate) const INDEX: &str = "index";
const PARKED: &str = "parked";

/// The names of what is declared. They are part of the contract with users, so only tests choose others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Where pages are published to.
    pub exchange: String,
    /// Where workers take them from.
    pub queue: String,
    /// Exchange and queue of what the broker gave up on.
    pub parked: String,
    /// What is newly in the log, for anyone's own consumers.
    pub indexed: String,
}

impl Default for Names {
    fn default() -> Self {
        Self::prefixed("xmtp")
    }
}

impl Names {
    /// Names under another first word, so that tests can share a broker.
    #[must_use]
    pub fn prefixed(prefix: &str) -> Self {
        Self {
            exchange: format!("{prefix}.envelopes"),
            queue: format!("{prefix}.envelopes.index"),
            parked: format!("{prefix}.envelopes.parked"),
            indexed: format!("{prefix}.indexed"),
        }
    }
}

fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

fn quorum() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), text("quorum"));
    arguments
}

/// Nothing may be dropped between the two queues: at-least-once dead-lettering, which needs `reject-publish`.
fn index_arguments(names: &Names) -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-dead-letter-exchange".into(), text(&names.parked));
    arguments.insert("x-dead-letter-routing-key".into(), text(PARKED));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    arguments
}

/// Declares everything. What exists with the same settings is left alone.
pub(crate) async fn declare(channel: &Channel, names: &Names) -> Result<()> {
    for (name, kind) in [
        (&names.exchange, ExchangeKind::Direct),
        (&names.parked, ExchangeKind::Direct),
        (&names.indexed, ExchangeKind::Topic),
    ] {
        let options = ExchangeDeclareOptions { durable: true, ..Default::default() };
        channel
            .exchange_declare(short(name), kind, options, FieldTable::default())
            .await
            .map_err(|error| Error::broker("declare the exchanges", error))?;
    }
    for (queue, arguments, exchange, key) in [
        (&names.parked, quorum(), &names.parked, PARKED),
        (&names.queue, index_arguments(names), &names.exchange, INDEX),
    ] {
        channel
            .queue_declare(short(queue), QueueDeclareOptions::durable(), arguments)
            .await
            .map_err(|error| Error::broker("declare the queues", error))?;
        channel
            .queue_bind(
                short(queue),
                short(exchange),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(|error| Error::broker("bind the queues", error))?;
    }
    Ok(())
}

pub(crate) fn short(name: &str) -> ShortString {
    name.into()
}
