//! One operation of a WebSocket.

use std::sync::Arc;

use actix_web::web;
use async_graphql::parser::types::OperationType;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    execute,
    record::{Ended, Entry},
    server::Shared,
    stream,
};
use crate::{
    tail::{self, Event},
    transport::reply::Outcome,
};

/// What an operation gives its socket.
pub(super) enum Out {
    /// An answer, and the room that it takes.
    Next { bytes: Bytes, cursor: Option<Arc<str>>, room: Option<OwnedSemaphorePermit> },
    /// There is nothing more.
    Ended { errors: Option<Value>, slow: bool },
}

/// Which operation it is: ids may be used again.
pub(super) struct From {
    pub(super) id: String,
    pub(super) serial: u64,
}

/// One operation of a socket. Aborted when nobody waits for it any more.
pub(super) struct Operation {
    shared: web::Data<Shared>,
    from: From,
    to: mpsc::Sender<(From, Out)>,
    /// Its socket's, and how much of it one answer takes.
    room: (Arc<Semaphore>, u32),
    entry: Entry,
}

fn active() -> metrics::Gauge {
    metrics::gauge!("xmtp_indexer_subscriptions_active", "transport" => "ws")
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.entry.ready.kind == OperationType::Subscription {
            active().decrement(1.0);
        }
    }
}

impl Operation {
    pub(super) fn new(
        shared: web::Data<Shared>,
        from: From,
        to: mpsc::Sender<(From, Out)>,
        room: (Arc<Semaphore>, u32),
        entry: Entry,
    ) -> Operation {
        // Here, not where it runs: it may be aborted before.
        if entry.ready.kind == OperationType::Subscription {
            active().increment(1.0);
        }
        Operation { shared, from, to, room, entry }
    }

    pub(super) async fn run(mut self) {
        let (errors, slow) = if self.entry.ready.kind == OperationType::Subscription {
            self.follow().await
        } else {
            (self.once().await, false)
        };
        self.give(Out::Ended { errors, slow }).await;
    }

    async fn give(&self, out: Out) {
        let from = From { id: self.from.id.clone(), serial: self.from.serial };
        // The socket is gone when this fails, and with it all of its operations.
        let _ = self.to.send((from, out)).await;
    }

    async fn once(&mut self) -> Option<Value> {
        // It is never closed.
        let (room, share) = self.room.clone();
        let room = room.acquire_many_owned(share).await.ok();
        let done = match execute::execute(&self.shared, &self.entry.ready).await {
            Ok(done) => done,
            Err(refused) => {
                self.entry.ended(Ended::given_up(&refused));
                return Some(refused.errors);
            }
        };
        self.entry.ended(done.ended());
        if done.outcome == Outcome::Invalid {
            let body: Value = serde_json::from_slice(&done.bytes).unwrap_or_default();
            return Some(body["errors"].clone());
        }
        self.give(Out::Next { bytes: done.bytes.into(), cursor: None, room }).await;
        None
    }

    async fn follow(&mut self) -> (Option<Value>, bool) {
        let opened = match stream::open(&self.shared, &self.entry.ready, None).await {
            Ok(Ok(opened)) => opened,
            // A directive left its field out.
            Ok(Err(errors)) if errors == json!([]) => return (None, false),
            Ok(Err(errors)) => {
                self.entry.told.outcome = "invalid";
                return (Some(errors), false);
            }
            Err(refused) => {
                self.entry.told.outcome = refused.code;
                return (Some(refused.errors), false);
            }
        };
        let (to, mut events) = mpsc::channel(1);
        let (hub, graph) = (self.shared.hub.clone(), self.shared.graph.clone());
        let following = tail::follow(hub, graph, self.entry.ready.clone(), opened, to);
        tokio::pin!(following);
        let mut done = false;
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = &mut following, if !done => {
                    done = true;
                    continue;
                }
            };
            match event {
                Some(Event::Answer { bytes, cursor }) => {
                    self.entry.told.answers += 1;
                    self.entry.told.bytes += bytes.len();
                    self.give(Out::Next { bytes, cursor, room: None }).await;
                }
                Some(Event::Ended { errors, slow }) => {
                    self.entry.told.outcome = if slow { "slow" } else { "error" };
                    return (Some(errors), slow);
                }
                None => return (None, false),
            }
        }
    }
}
