//! GraphQL over Server-Sent Events, distinct connections: one operation a response, one event an answer.

/// What keeps proxies from closing a connection on which nothing happens.
pub(crate) const HEARTBEAT: &str = ":\n\n";

/// The end of an operation.
pub(crate) const COMPLETE: &str = "event: complete\ndata:\n\n";

/// One answer. The JSON of an answer has no line breaks, which are what separates events.
pub(crate) fn next(answer: &[u8], cursor: Option<&str>) -> Vec<u8> {
    let mut event = Vec::with_capacity(answer.len() + 64);
    event.extend_from_slice(b"event: next\n");
    if let Some(cursor) = cursor {
        // Browsers send it back as `Last-Event-ID` when they reconnect.
        event.extend_from_slice(b"id: ");
        event.extend_from_slice(cursor.as_bytes());
        event.push(b'\n');
    }
    event.extend_from_slice(b"data: ");
    event.extend_from_slice(answer);
    event.extend_from_slice(b"\n\n");
    event
}
