//! Subscriptions: which subscribers get an envelope, and what happens to slow ones.

use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use wire::Envelope;

/// What a node buffers for one subscription before it disconnects it.
const BUFFER: usize = 1024;
/// The same for a subscription to everything.
const WILDCARD_BUFFER: usize = 4096;
/// The topic that means all topics.
const WILDCARD: &str = "*";

/// The topics of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Everything of the network; what lies outside (`test-…` and the like) is left out.
    Everything,
    /// These topics, by exact name.
    Topics(HashSet<Bytes>),
}

impl Interest {
    /// The interest in a list of topics, as a request names it.
    pub(crate) fn in_topics(topics: Vec<String>) -> Self {
        if topics.iter().any(|topic| topic == WILDCARD) {
            return Interest::Everything;
        }
        Interest::Topics(topics.into_iter().map(Bytes::from).collect())
    }
}

/// All subscriptions of a node.
#[derive(Clone, Default)]
pub(crate) struct Hub {
    inner: Arc<Mutex<Inner>>,
    /// How many subscribe to everything.
    listeners: Arc<watch::Sender<usize>>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    members: HashMap<u64, Member>,
    by_topic: HashMap<Bytes, HashSet<u64>>,
    everything: HashSet<u64>,
    closed: bool,
}

struct Member {
    interest: Interest,
    sender: mpsc::Sender<Envelope>,
    /// Cancelled when the hub lets go of the member, so that no task waits for its room any more.
    gone: CancellationToken,
}

/// A subscriber without room, and the envelope that it is to get.
pub(crate) struct Room {
    sender: mpsc::Sender<Envelope>,
    gone: CancellationToken,
    envelope: Envelope,
}

impl Room {
    /// Waits until the subscriber has read enough, or is gone.
    pub(crate) async fn fill(self) {
        tokio::select! {
            () = self.gone.cancelled() => {}
            // An error means that the subscriber went away.
            _ = self.sender.send(self.envelope) => {}
        }
    }
}

impl Hub {
    /// Registers a subscription. It sees what arrives from now on.
    pub(crate) fn subscribe(&self, interest: Interest) -> Subscription {
        let buffer = if interest == Interest::Everything { WILDCARD_BUFFER } else { BUFFER };
        let (sender, receiver) = mpsc::channel(buffer);
        let mut inner = self.inner();
        let id = inner.next;
        inner.next += 1;
        // After the end no subscription is registered, and the stream ends at once.
        if !inner.closed {
            inner.add(id, Member { interest, sender, gone: CancellationToken::new() });
        }
        self.count(inner);
        Subscription { id, receiver, hub: self.clone() }
    }

    /// Sends an envelope to every subscriber of its topic. A subscriber without room is disconnected: its stream
    /// ends with status OK, after the contents of its buffer.
    pub(crate) fn relay(&self, envelope: &Envelope) {
        let mut inner = self.inner();
        let mut lost = Vec::new();
        inner.each(&envelope.topic, |id, member| {
            if member.sender.try_send(envelope.clone()).is_err() {
                lost.push(id);
            }
        });
        if !lost.is_empty() {
            for id in lost {
                inner.remove(id);
            }
            self.count(inner);
        }
    }

    /// Sends an envelope to every subscriber of its topic that has room, and returns the others, to be
    /// waited for.
    pub(crate) fn offer(&self, envelope: &Envelope) -> Vec<Room> {
        let mut rooms = Vec::new();
        self.inner().each(&envelope.topic, |_, member| {
            if let Err(TrySendError::Full(envelope)) = member.sender.try_send(envelope.clone()) {
                let (sender, gone) = (member.sender.clone(), member.gone.clone());
                rooms.push(Room { sender, gone, envelope });
            }
        });
        rooms
    }

    /// Ends every stream, with status OK, after what it has in its buffer.
    pub(crate) fn drop_all(&self) {
        let mut inner = self.inner();
        inner.clear();
        self.count(inner);
    }

    /// Ends every stream, now and from now on.
    pub(crate) fn close(&self) {
        let mut inner = self.inner();
        inner.clear();
        inner.closed = true;
        self.count(inner);
    }

    /// How many subscriptions there are.
    pub(crate) fn members(&self) -> usize {
        self.inner().members.len()
    }

    /// How many subscribe to everything, as it changes.
    pub(crate) fn listeners(&self) -> watch::Receiver<usize> {
        self.listeners.subscribe()
    }

    fn unsubscribe(&self, id: u64) {
        let mut inner = self.inner();
        inner.remove(id);
        self.count(inner);
    }

    fn count(&self, inner: MutexGuard<'_, Inner>) {
        let now = inner.everything.len();
        self.listeners.send_if_modified(|count| std::mem::replace(count, now) != now);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn add(&mut self, id: u64, member: Member) {
        match &member.interest {
            Interest::Everything => {
                self.everything.insert(id);
            }
            Interest::Topics(topics) => {
                for topic in topics {
                    self.by_topic.entry(topic.clone()).or_default().insert(id);
                }
            }
        }
        self.members.insert(id, member);
    }

    fn remove(&mut self, id: u64) {
        let Some(member) = self.members.remove(&id) else { return };
        member.gone.cancel();
        self.everything.remove(&id);
        if let Interest::Topics(topics) = &member.interest {
            for topic in topics {
                if let Some(ids) = self.by_topic.get_mut(topic) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        self.by_topic.remove(topic);
                    }
                }
            }
        }
    }

    fn clear(&mut self) {
        for (_, member) in self.members.drain() {
            member.gone.cancel();
        }
        self.by_topic.clear();
        self.everything.clear();
    }

    fn each(&self, topic: &Bytes, mut give: impl FnMut(u64, &Member)) {
        let everything = self.everything.iter().filter(|_| is_of_the_network(topic));
        let named = self.by_topic.get(topic).into_iter().flatten();
        for id in everything.chain(named) {
            if let Some(member) = self.members.get(id) {
                give(*id, member);
            }
        }
    }
}

/// What a subscription to everything gets; names like `test-…` are left out.
fn is_of_the_network(topic: &[u8]) -> bool {
    topic.starts_with(b"/xmtp/0/") || topic.starts_with(b"/xmtp/mls/1/")
}

/// The receiving end. Its stream ends when the hub lets go; dropping it unsubscribes.
pub(crate) struct Subscription {
    id: u64,
    receiver: mpsc::Receiver<Envelope>,
    hub: Hub,
}

impl Subscription {
    /// Leaves the hub. What is in the buffer can still be read.
    pub(crate) fn unsubscribe(&self) {
        self.hub.unsubscribe(self.id);
    }
}

impl Stream for Subscription {
    type Item = Envelope;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Envelope>> {
        self.get_mut().receiver.poll_recv(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.unsubscribe();
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;

    fn envelope(topic: &str, time: u64) -> Envelope {
        Envelope {
            topic: Bytes::copy_from_slice(topic.as_bytes()),
            timestamp_ns: time,
            message: Bytes::from_static(b"x"),
        }
    }

    #[tokio::test]
    async fn a_slow_reader_gets_its_buffer_and_then_the_end() {
        let hub = Hub::default();
        for (interest, room) in [
            (Interest::Everything, WILDCARD_BUFFER),
            (Interest::in_topics(vec!["/xmtp/0/m-a/proto".into()]), BUFFER),
        ] {
            let subscription = hub.subscribe(interest);
            for time in 0..room as u64 + 10 {
                hub.relay(&envelope("/xmtp/0/m-a/proto", time));
            }
            assert_eq!(subscription.count().await, room);
        }
        assert_eq!(*hub.listeners().borrow(), 0);
    }

    #[tokio::test]
    async fn an_offer_waits_for_room_and_loses_nothing() {
        let hub = Hub::default();
        let subscription = hub.subscribe(Interest::Everything);
        let all = 3 * WILDCARD_BUFFER as u64;
        let offering = hub.clone();
        let player = tokio::spawn(async move {
            for time in 0..all {
                for room in offering.offer(&envelope("/xmtp/0/m-a/proto", time)) {
                    room.fill().await;
                }
            }
            offering.drop_all();
        });
        let times: Vec<u64> = subscription.map(|envelope| envelope.timestamp_ns).collect().await;
        player.await.unwrap();
        assert_eq!(times, (0..all).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn nobody_waits_for_a_reader_that_is_let_go() {
        let hub = Hub::default();
        let subscription = hub.subscribe(Interest::Everything);
        let mut rooms = Vec::new();
        for time in 0..=WILDCARD_BUFFER as u64 {
            rooms.extend(hub.offer(&envelope("/xmtp/0/m-a/proto", time)));
        }
        assert_eq!(rooms.len(), 1);
        hub.drop_all();
        for room in rooms {
            room.fill().await;
        }
        assert_eq!(subscription.count().await, WILDCARD_BUFFER);
        hub.close();
        assert_eq!(hub.subscribe(Interest::Everything).count().await, 0);
    }

    #[tokio::test]
    async fn everything_means_the_network_and_topics_mean_exact_names() {
        let hub = Hub::default();
        let all = hub.subscribe(Interest::in_topics(vec!["x".into(), "*".into()]));
        let some = hub.subscribe(Interest::in_topics(vec!["test-1".into(), "/xmtp/0/m-a".into()]));
        for (time, topic) in
            ["test-1", "/xmtp/0/m-a", "/xmtp/0/M-a", "/xmtp/mls/1/g-00/proto", "/xmtp/1/x"]
                .iter()
                .enumerate()
        {
            hub.relay(&envelope(topic, time as u64));
        }
        hub.close();
        let times = |s: Subscription| s.map(|e| e.timestamp_ns).collect::<Vec<_>>();
        assert_eq!(times(all).await, [1, 2, 3]);
        assert_eq!(times(some).await, [0, 1]);
    }
}
