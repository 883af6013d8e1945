//! What can be kept at all.

use crate::Envelope;

/// Longest topic, in bytes. Nodes take no longer ones.
pub const MAX_TOPIC_BYTES: usize = 300;

/// Longest message, in bytes. Nodes accept less, so a longer one does not come from regular traffic.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// Why an envelope cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The topic has no name.
    #[error("the topic is empty")]
    TopicEmpty,
    /// The topic's name is too long.
    #[error("the topic has {0} bytes, more than {MAX_TOPIC_BYTES}")]
    TopicTooLong(usize),
    /// The topic's name is no text.
    #[error("the topic is not UTF-8")]
    TopicNotUtf8,
    /// The topic's name holds a NUL, which the database cannot store in a text.
    #[error("the topic contains a NUL")]
    TopicWithNul,
    /// The message is too long.
    #[error("the message has {0} bytes, more than {MAX_MESSAGE_BYTES}")]
    MessageTooLong(usize),
}

/// The topic as text, if the envelope can be kept. What can be kept need not be understood.
pub fn admit(envelope: &Envelope) -> Result<&str, Refused> {
    let topic = &envelope.topic;
    if topic.is_empty() {
        return Err(Refused::TopicEmpty);
    }
    if topic.len() > MAX_TOPIC_BYTES {
        return Err(Refused::TopicTooLong(topic.len()));
    }
    let name = std::str::from_utf8(topic).map_err(|_| Refused::TopicNotUtf8)?;
    if name.contains('\0') {
        return Err(Refused::TopicWithNul);
    }
    if envelope.message.len() > MAX_MESSAGE_BYTES {
        return Err(Refused::MessageTooLong(envelope.message.len()));
    }
    Ok(name)
}

/// Can an envelope be kept whose source numbers its envelopes? Topics of such sources are any bytes.
///
/// # Errors
/// Why it cannot.
pub fn admit_numbered(envelope: &Envelope) -> Result<(), Refused> {
    match envelope.topic.len() {
        0 => Err(Refused::TopicEmpty),
        length if length > MAX_TOPIC_BYTES => Err(Refused::TopicTooLong(length)),
        _ if envelope.message.len() > MAX_MESSAGE_BYTES => {
            Err(Refused::MessageTooLong(envelope.message.len()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn envelope(topic: impl Into<Bytes>, size: usize) -> Envelope {
        Envelope { topic: topic.into(), timestamp_ns: 0, message: Bytes::from(vec![0; size]) }
    }

    #[test]
    fn takes_everything_up_to_the_limits() {
        let longest = "x".repeat(MAX_TOPIC_BYTES);
        assert_eq!(admit(&envelope(longest.clone(), MAX_MESSAGE_BYTES)), Ok(longest.as_str()));
        assert_eq!(admit(&envelope("\u{202e}'; drop", 0)), Ok("\u{202e}'; drop"));
    }

    #[test]
    fn refuses_what_cannot_be_stored() {
        let cases = [
            (envelope("", 0), Refused::TopicEmpty),
            (envelope("x".repeat(301), 0), Refused::TopicTooLong(301)),
            (envelope(vec![b'/', 0xff], 0), Refused::TopicNotUtf8),
            (envelope("/a\0b", 0), Refused::TopicWithNul),
            (envelope("/a", MAX_MESSAGE_BYTES + 1), Refused::MessageTooLong(MAX_MESSAGE_BYTES + 1)),
        ];
        for (envelope, reason) in cases {
            assert_eq!(admit(&envelope), Err(reason));
        }
    }

    #[test]
    fn topics_of_numbered_envelopes_are_any_bytes() {
        assert_eq!(admit_numbered(&envelope(vec![0, 0xff], 0)), Ok(()));
        assert_eq!(admit_numbered(&envelope("", 0)), Err(Refused::TopicEmpty));
        let long = envelope(vec![0; MAX_TOPIC_BYTES + 1], 0);
        assert_eq!(admit_numbered(&long), Err(Refused::TopicTooLong(MAX_TOPIC_BYTES + 1)));
        let large = envelope("/a", MAX_MESSAGE_BYTES + 1);
        assert_eq!(admit_numbered(&large), Err(Refused::MessageTooLong(MAX_MESSAGE_BYTES + 1)));
    }
}
