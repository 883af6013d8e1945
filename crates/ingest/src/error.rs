//! Errors on the path from a node to the log. Messages say what to do.

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

use crate::source::NodeError;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the broker cannot be parsed. The text never holds the password.
    #[error(
        "AMQP_URL is not an address of RabbitMQ: {0} (it looks like amqp://user:password@host:5672,host2:5672/vhost)"
    )]
    Address(String),
    /// None of several nodes of the broker accepts a connection.
    #[error("cannot connect to RabbitMQ, no node of AMQP_URL accepts a connection: {reasons}")]
    NoNode {
        /// Address and reason of each node.
        reasons: String,
        /// Whether one of them may answer later.
        transient: bool,
    },
    /// The prefix of names in the broker is unusable.
    #[error(
        "queue.prefix is {0:?}: it must have 1 to 200 characters of a-z, A-Z, 0-9, `.`, `_` and `-`, and not begin with `amq.`"
    )]
    Prefix(String),
    /// The network's name is unusable.
    #[error("network is {0:?}: it must have 1 to 255 bytes and no NUL")]
    NetworkName(String),
    /// The quorum queue has no leader: it neither confirms nor delivers.
    #[error(
        "the queue `{queue}` does not answer ({why}): it has no leader, so it takes no page and delivers none; a majority of the RabbitMQ nodes that hold it must run (`rabbitmq-queues quorum_status {queue}`)"
    )]
    NoLeader {
        /// The queue's name.
        queue: String,
        /// The answer of RabbitMQ, or that there was none.
        why: String,
    },
    /// The queue holds a page that this worker must not take.
    #[error("the queue `{queue}` holds {reason}; the page stays in the queue")]
    ForeignPage {
        /// The queue's name.
        queue: String,
        /// Why the page is not for this worker, and what to do.
        reason: crate::queue::page::PageError,
    },
    /// RabbitMQ refused a request, or the connection failed.
    #[error("cannot {doing}: {why}")]
    Broker {
        /// What was being done.
        doing: &'static str,
        /// Why it failed, and what to do.
        why: String,
        /// The error of the client library.
        #[source]
        source: Box<lapin::Error>,
    },
    /// RabbitMQ did not answer in time.
    #[error("cannot {doing}: RabbitMQ did not answer within {seconds} s")]
    Silence {
        /// What was being done.
        doing: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// The publisher ended before everything was confirmed; the pages are in doubt and will be read again.
    #[error(
        "the publisher stopped before RabbitMQ had confirmed everything; the rest is read from the node again"
    )]
    Unconfirmed,
    /// A page cannot be published as it is.
    #[error("a page cannot be published: {0}")]
    Page(#[from] crate::queue::page::PageError),
    /// The database failed in a way that waiting does not heal.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A node refused or could not be reached.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// A task of a source panicked: a fault of this program.
    #[error("a task of a source ended in a panic: {0}")]
    Task(String),
    /// The options of a source are not those of its kind.
    #[error("the options of source `{name}` are not usable: {why}")]
    Options {
        /// Its name.
        name: String,
        /// What is wrong.
        why: String,
    },
    /// The address of a node cannot be read.
    #[error("the node address `{0}` is not usable: it looks like http://host:5556 or https://host")]
    NodeAddress(String),
}

impl Error {
    /// Wraps an error of the client library in a message that says what to do.
    pub(crate) fn broker(doing: &'static str, source: lapin::Error) -> Self {
        Self::Broker { doing, why: explain(&source), source: Box::new(source) }
    }

    /// Whether RabbitMQ could not serve a valid request.
    pub(crate) fn internal(source: &lapin::Error) -> Option<String> {
        match source.kind() {
            ErrorKind::ProtocolError(amqp)
                if *amqp.kind() == AMQPErrorKind::Hard(AMQPHardError::INTERNALERROR) =>
            {
                Some(amqp.get_message().to_string())
            }
            _ => None,
        }
    }

    /// Whether broker or database may answer later: they cannot be reached, or they are starting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Silence { .. } | Self::NoLeader { .. } => true,
            Self::NoNode { transient, .. } => *transient,
            Self::Broker { source, .. } => match source.kind() {
                ErrorKind::IOError(_) | ErrorKind::MissingHeartbeatError => true,
                ErrorKind::ProtocolError(amqp) => matches!(
                    amqp.kind(),
                    // A broker that boots or stops closes its connections with these.
                    AMQPErrorKind::Hard(
                        AMQPHardError::CONNECTIONFORCED | AMQPHardError::INTERNALERROR
                    )
                ),
                _ => false,
            },
            Self::Store(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// A message for the operator of the broker.
fn explain(error: &lapin::Error) -> String {
    let ErrorKind::ProtocolError(amqp) = error.kind() else {
        return match error.kind() {
            ErrorKind::IOError(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                "nothing listens at the AMQP address; start RabbitMQ or correct AMQP_URL".into()
            }
            ErrorKind::IOError(io) if io.to_string().contains("UnknownIssuer") => {
                "the certificate of RabbitMQ is signed by an authority that this system does not trust; name the authority's certificate with ?cacertfile=/path/to/ca.pem in AMQP_URL".into()
            }
            ErrorKind::IOError(io) => format!("the connection to RabbitMQ failed: {io}"),
            _ => error.to_string(),
        };
    };
    let text = amqp.get_message().to_string();
    match amqp.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if text.contains("inequivalent") => {
            format!(
                "RabbitMQ already has a queue or an exchange of that name with other settings ({text}); drain and delete it, or use another queue.prefix or vhost"
            )
        }
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if text.contains("timed out") => {
            format!(
                "RabbitMQ waited longer than its consumer_timeout for an acknowledgement ({text}); the pages are delivered again"
            )
        }
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) if text.contains("message size") => {
            format!(
                "a page is larger than the max_message_size of RabbitMQ ({text}); raise it to 16 MiB"
            )
        }
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
            format!(
                "RabbitMQ refused access ({text}); check user, password and permissions of AMQP_URL"
            )
        }
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => {
            format!("RabbitMQ does not know it ({text}); it is declared again at the next start")
        }
        AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
            format!(
                "RabbitMQ does not allow it ({text}); does the vhost of AMQP_URL exist? Without a path it is `/`, and a path of a lone / names the vhost with the empty name"
            )
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::protocol::AMQPError;

    fn message(kind: AMQPErrorKind, text: &str) -> String {
        let amqp = AMQPError::new(kind, text.into());
        Error::broker("declare the queue", ErrorKind::ProtocolError(amqp).into()).to_string()
    }

    #[test]
    fn a_queue_with_other_arguments_is_one_sentence_that_says_what_to_do() {
        let kind = AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED);
        let text = message(kind, "inequivalent arg 'x-queue-type'");
        assert!(text.starts_with("cannot declare the queue: RabbitMQ already has"), "{text}");
        assert!(text.contains("drain and delete it"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn other_failed_preconditions_do_not_blame_the_queue() {
        for (text, part) in [
            ("delivery acknowledgement on channel 1 timed out", "consumer_timeout"),
            ("message size 9 is larger than configured max size 8", "max_message_size"),
            ("unknown delivery tag 3", "unknown delivery tag 3"),
        ] {
            let error = message(AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED), text);
            assert!(error.contains(part) && !error.contains("other settings"), "{error}");
        }
    }

    #[test]
    fn a_refused_user_is_told_to_check_the_credentials() {
        let text = message(AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED), "refused");
        assert!(text.contains("check user, password"), "{text}");
    }
}
