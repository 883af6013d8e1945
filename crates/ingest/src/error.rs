//! What can go wrong on the way from a node to the log, in sentences that say what to do.

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError, AMQPSoftError};

use crate::source::NodeError;

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why this crate could not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the broker cannot be read. The text never holds the password.
    #[error(
        "the AMQP address is not usable: {0} (it looks like amqp://user:password@host:5672/vhost)"
    )]
    Address(String),
    /// The broker was asked for something and did not do it.
    #[error("cannot {doing}: {why}")]
    Broker {
        /// What was being done.
        doing: &'static str,
        /// Why it failed, and what to do.
        why: String,
        /// What the client library said.
        #[source]
        source: Box<lapin::Error>,
    },
    /// The broker did not answer in time.
    #[error("cannot {doing}: RabbitMQ did not answer within {seconds} s")]
    Silence {
        /// What was being done.
        doing: &'static str,
        /// How long it was given.
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
    /// The address of a node cannot be read.
    #[error("the node address `{0}` is not usable: it looks like http://host:5556 or https://host")]
    NodeAddress(String),
}

impl Error {
    /// Wraps what the client library said in words that help.
    pub(crate) fn broker(doing: &'static str, source: lapin::Error) -> Self {
        Self::Broker { doing, why: explain(&source), source: Box::new(source) }
    }

    /// Whether broker or database may answer later: they cannot be reached, or they are starting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Silence { .. } => true,
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

/// One sentence for a person who has to make the broker work.
fn explain(error: &lapin::Error) -> String {
    let ErrorKind::ProtocolError(amqp) = error.kind() else {
        return match error.kind() {
            ErrorKind::IOError(io) if io.kind() == std::io::ErrorKind::ConnectionRefused => {
                "nothing listens at the AMQP address; start RabbitMQ or correct AMQP_URL".into()
            }
            ErrorKind::IOError(io) => format!("the connection to RabbitMQ failed: {io}"),
            _ => error.to_string(),
        };
    };
    let text = amqp.get_message().to_string();
    match amqp.kind() {
        AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED) => format!(
            "RabbitMQ already has a queue or an exchange of that name with other settings ({text}); drain and delete it, or use another vhost in AMQP_URL"
        ),
        AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED) => {
            format!(
                "RabbitMQ refused access ({text}); check user, password and permissions of AMQP_URL"
            )
        }
        AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => {
            format!("RabbitMQ does not know it ({text}); it is declared again at the next start")
        }
        AMQPErrorKind::Hard(AMQPHardError::NOTALLOWED) => {
            format!("RabbitMQ does not allow it ({text}); does the vhost of AMQP_URL exist?")
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lapin::protocol::AMQPError;

    fn told(kind: AMQPErrorKind) -> String {
        let amqp = AMQPError::new(kind, "inequivalent arg".into());
        Error::broker("declare the queue", ErrorKind::ProtocolError(amqp).into()).to_string()
    }

    #[test]
    fn a_queue_with_other_arguments_is_one_sentence_that_says_what_to_do() {
        let text = told(AMQPErrorKind::Soft(AMQPSoftError::PRECONDITIONFAILED));
        assert!(text.starts_with("cannot declare the queue: RabbitMQ already has"), "{text}");
        assert!(text.contains("drain and delete it"), "{text}");
        assert!(!text.contains('\n'), "{text}");
    }

    #[test]
    fn a_refused_user_is_told_to_check_the_credentials() {
        let text = told(AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED));
        assert!(text.contains("check user, password"), "{text}");
    }
}
