//! One operation of a WebSocket.

use std::sync::Arc;

use actix_web::web;
use async_graphql::parser::types::OperationType;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::{
    execute,
    record::{Ended, Record},
    server::Shared,
    stream,
};
use crate::{
    intake::Ready,
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

/// One operation of a socket. Aborted when nobody waits for it any more; the line in the log is written all the same.
pub(super) struct Operation {
    shared: web::Data<Shared>,
    from: From,
    to: mpsc::Sender<(From, Out)>,
    /// Its socket's, and how much of it one answer takes.
    room: (Arc<Semaphore>, u32),
    ready: Ready,
    record: Record,
    /// Of a subscription: answers, their bytes, and how it ended.
    told: (u64, usize, &'static str),
}

fn active() -> metrics::Gauge {
    metrics::gauge!("xmtp_indexer_subscriptions_active", "transport" => "ws")
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.ready.kind == OperationType::Subscription {
            let (answers, bytes, outcome) = self.told;
            self.record.ended(&self.ready, Ended { outcome, answers, bytes, ..Ended::default() });
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
        ready: Ready,
        record: Record,
    ) -> Operation {
        // Here, not where it runs: it may be aborted before.
        if ready.kind == OperationType::Subscription {
            active().increment(1.0);
        }
        Operation { shared, from, to, room, ready, record, told: (0, 0, "ok") }
    }

    pub(super) async fn run(mut self) {
        let (errors, slow) = if self.ready.kind == OperationType::Subscription {
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

    async fn once(&self) -> Option<Value> {
        let waiting = self.record.wait(&self.ready);
        // It is never closed.
        let (room, share) = self.room.clone();
        let room = room.acquire_many_owned(share).await.ok();
        let done = match execute::execute(&self.shared, &self.ready).await {
            Ok(done) => done,
            Err(refused) => {
                waiting.ended(Ended::given_up(&refused));
                return Some(refused.errors);
            }
        };
        waiting.ended(done.ended());
        if done.outcome == Outcome::Invalid {
            let body: Value = serde_json::from_slice(&done.bytes).unwrap_or_default();
            return Some(body["errors"].clone());
        }
        self.give(Out::Next { bytes: done.bytes.into(), cursor: None, room }).await;
        None
    }

    async fn follow(&mut self) -> (Option<Value>, bool) {
        let opened = match stream::open(&self.shared, &self.ready, None).await {
            Ok(Ok(opened)) => opened,
            // A directive left its field out.
            Ok(Err(errors)) if errors == json!([]) => return (None, false),
            Ok(Err(errors)) => {
                self.told.2 = "invalid";
                return (Some(errors), false);
            }
            Err(refused) => {
                self.told.2 = refused.code;
                return (Some(refused.errors), false);
            }
        };
        let (to, mut events) = mpsc::channel(1);
        let (hub, graph) = (self.shared.hub.clone(), self.shared.graph.clone());
        let following = tail::follow(hub, graph, self.ready.clone(), opened, to);
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
                    self.told.0 += 1;
                    self.told.1 += bytes.len();
                    self.give(Out::Next { bytes, cursor, room: None }).await;
                }
                Some(Event::Ended { errors, slow }) => {
                    self.told.2 = if slow { "slow" } else { "error" };
                    return (Some(errors), slow);
                }
                None => return (None, false),
            }
        }
    }
}
