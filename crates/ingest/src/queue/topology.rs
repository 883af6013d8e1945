//! Exchanges and queues, declared by every publisher and worker with the same arguments.

use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ExchangeKind};

use crate::error::{Error, Result};

/// Deliveries of one message before the broker dead-letters it. Every start of a worker that cannot read a page counts, and so
/// does every check of the queue while there is no consumer. A page must survive months of either; and the limit must be stated,
/// since RabbitMQ 4 has a low one by default.
const DELIVERY_LIMIT: i32 = 1_000_000;

/// The longest prefix of names; what is appended to it must fit into the 255 bytes of a name in AMQP.
const MAX_PREFIX_BYTES: usize = 200;

/// Routing keys of pages for the log, and of dead letters.
pub(crate) const INDEX: &str = "index";
const PARKED: &str = "parked";

/// The names of exchanges and queues. Networks that share a broker have prefixes of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// The exchange that pages are published to.
    pub exchange: String,
    /// The queue that workers consume.
    pub queue: String,
    /// Exchange and queue of dead letters.
    pub parked: String,
    /// The exchange that announces what is newly in the log, for consumers of others.
    pub indexed: String,
}

impl Default for Names {
    fn default() -> Self {
        Self::from_prefix("xmtp")
    }
}

impl Names {
    /// Names that begin with a prefix.
    ///
    /// # Errors
    /// When the prefix is empty, longer than 200 bytes, has characters other than ASCII letters, digits, `.`, `_` and `-`, or
    /// begins with `amq.`, which RabbitMQ keeps for itself.
    pub fn prefixed(prefix: &str) -> Result<Self> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let fits = (1..=MAX_PREFIX_BYTES).contains(&prefix.len());
        if !fits || !prefix.bytes().all(allowed) || prefix.starts_with("amq.") {
            return Err(Error::Prefix(prefix.to_owned()));
        }
        Ok(Self::from_prefix(prefix))
    }

    fn from_prefix(prefix: &str) -> Self {
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

/// Dead-lettering is at-least-once, so that nothing is dropped between the two queues. It needs `reject-publish`.
fn index_arguments(names: &Names) -> FieldTable {
    let mut arguments = quorum();
    arguments.insert("x-dead-letter-exchange".into(), text(&names.parked));
    arguments.insert("x-dead-letter-routing-key".into(), text(PARKED));
    arguments.insert("x-dead-letter-strategy".into(), text("at-least-once"));
    arguments.insert("x-overflow".into(), text("reject-publish"));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT));
    arguments
}

/// Declares everything. What exists with the same arguments is left alone.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_what_every_broker_takes() {
        for prefix in ["xmtp", "dev.xmtp-2_b", &"a".repeat(200)] {
            assert_eq!(Names::prefixed(prefix).unwrap().queue, format!("{prefix}.envelopes.index"));
        }
        for prefix in ["", "a b", "ü", "amq.x", "a\0", &"a".repeat(201)] {
            let error = Names::prefixed(prefix).unwrap_err().to_string();
            assert!(error.contains("queue.prefix"), "{error}");
        }
        assert_eq!(Names::default(), Names::prefixed("xmtp").unwrap());
    }
}
