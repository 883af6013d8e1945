//! What a node does, whatever the transport: take envelopes, keep them, relay them, answer
//! queries. Refusals are gRPC statuses, the node's own language; the gateway translates them.

mod hub;
#[cfg(test)]
mod paging;
mod query;
mod store;

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tonic::Status;
use wire::Envelope;
use wire::proto::message_api::{
    BatchQueryRequest, BatchQueryResponse, PublishRequest, QueryRequest, QueryResponse,
};

pub(crate) use hub::{Hub, Interest, Subscription};
use store::Store;

/// The longest topic name that `Publish` takes.
pub(crate) const MAX_TOPIC_BYTES: usize = 300;
/// The longest payload that `Publish` takes: 1 MiB with room for the topic and the row's overhead.
pub(crate) const MAX_MESSAGE_BYTES: usize = 1_048_576 - MAX_TOPIC_BYTES - 62;
/// The largest request that either API reads.
pub(crate) const MAX_REQUEST_BYTES: usize = 50 * 1024 * 1024;
/// The most queries in a batch.
const MAX_BATCH: usize = 50;

/// One node: a store and a hub of subscriptions.
#[derive(Clone, Default)]
pub(crate) struct Node {
    store: Arc<Mutex<Store>>,
    hub: Hub,
    faults: Arc<Mutex<Faults>>,
}

/// What is wrong with a node, on purpose.
#[derive(Default)]
struct Faults {
    /// It stores what it takes, and relays nothing.
    mute: bool,
    /// Queries that name one of these topics fail.
    failing: HashSet<String>,
}

impl Node {
    /// The subscriptions.
    pub(crate) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Handles `Publish`. Not atomic: what came before a refused envelope stays.
    pub(crate) fn publish(&self, request: PublishRequest) -> Result<(), Status> {
        for envelope in request.envelopes {
            check(&envelope)?;
            self.take(envelope.into());
        }
        Ok(())
    }

    /// Keeps an envelope and relays it. A subscriber without room is hung up on.
    pub(crate) fn take(&self, envelope: Envelope) {
        self.keep(&envelope);
        if !self.faults().mute {
            self.hub.relay(&envelope);
        }
    }

    /// Stops or resumes relaying; see [`Faults`].
    pub(crate) fn mute(&self, mute: bool) {
        self.faults().mute = mute;
    }

    /// Makes queries for a topic fail, or heals them; see [`Faults`].
    pub(crate) fn fail_at(&self, topic: &str, fails: bool) {
        match fails {
            true => self.faults().failing.insert(topic.to_owned()),
            false => self.faults().failing.remove(topic),
        };
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an envelope without relaying it. False if nothing was kept: it is ephemeral, or was
    /// there before.
    pub(crate) fn keep(&self, envelope: &Envelope) -> bool {
        !is_ephemeral(&envelope.topic) && self.store().insert(envelope)
    }

    /// Forgets an envelope.
    pub(crate) fn forget(&self, envelope: &Envelope) {
        self.store().remove(envelope);
    }

    /// How many envelopes are kept.
    pub(crate) fn stored(&self) -> usize {
        self.store().len()
    }

    /// One page.
    pub(crate) fn query(&self, request: &QueryRequest) -> Result<QueryResponse, Status> {
        if request.content_topics.iter().any(|topic| self.faults().failing.contains(topic)) {
            return Err(Status::internal("a fault that was injected"));
        }
        query::answer(&self.store(), request)
    }

    /// Several pages, one after another.
    pub(crate) fn batch_query(
        &self,
        request: &BatchQueryRequest,
    ) -> Result<BatchQueryResponse, Status> {
        if request.requests.len() > MAX_BATCH {
            return Err(Status::invalid_argument(format!(
                "cannot exceed {MAX_BATCH} requests in single batch"
            )));
        }
        let responses = request
            .requests
            .iter()
            .map(|request| self.query(request))
            .collect::<Result<_, _>>()
            // Nodes lose the inner code and keep its text.
            .map_err(|status| Status::internal(status.message()))?;
        Ok(BatchQueryResponse { responses })
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        // The store is whole between any two of its statements, so a panic elsewhere is no reason
        // to stop serving.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(envelope: &wire::proto::message_api::Envelope) -> Result<(), Status> {
    // On the network the field is a string, and a decoder that meets other bytes fails the call.
    if std::str::from_utf8(&envelope.content_topic).is_err() {
        return Err(Status::internal("the field content_topic contains invalid UTF-8"));
    }
    if envelope.content_topic.len() > MAX_TOPIC_BYTES {
        return Err(Status::invalid_argument("topic length too big"));
    }
    if envelope.message.len() > MAX_MESSAGE_BYTES {
        return Err(Status::invalid_argument("message too big"));
    }
    Ok(())
}

/// The text between the network's head and the first hyphen: all that a node looks at.
fn category(topic: &[u8]) -> Option<&[u8]> {
    let name = topic.strip_prefix(b"/xmtp/0/".as_slice())?;
    name.split(|byte| *byte == b'-').next()
}

fn is_ephemeral(topic: &[u8]) -> bool {
    matches!(category(topic), Some(b"mE" | b"dmE"))
}

fn is_user_preferences(topic: &[u8]) -> bool {
    category(topic) == Some(b"userpreferences".as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_head_and_the_prefix_make_a_topic_ephemeral() {
        for topic in ["/xmtp/0/mE-123", "/xmtp/0/dmE-a-b/proto", "/xmtp/0/mE-x/proto"] {
            assert!(is_ephemeral(topic.as_bytes()), "{topic}");
        }
        for topic in ["mE-123", "/xmtp/0/m-123/proto", "/xmtp/0/m-E-1", "/xmtp/1/mE-1", ""] {
            assert!(!is_ephemeral(topic.as_bytes()), "{topic}");
        }
    }
}
