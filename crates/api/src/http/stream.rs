//! Event streams: one operation a response.

use std::{rc::Rc, sync::Arc, time::Instant};

use actix_web::{HttpResponse, http::header, web};
use async_graphql::parser::types::OperationType;
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    access::{self, Caller},
    execute, headers,
    record::{Ended, Entry, Record},
    server::Shared,
};
use crate::{
    intake::Ready,
    tail::{self, Event, Opened},
    transport::{
        media::Media,
        refused::Refused,
        reply::{self, Outcome},
        sse,
    },
    types,
};

/// Events that wait for the connection.
const WAITING: usize = 16;

fn response() -> actix_web::HttpResponseBuilder {
    let mut response = headers::begin(200, Media::Events);
    // Proxies that collect an answer before they pass it on would collect forever.
    response
        .insert_header(("x-accel-buffering", "no"))
        .insert_header((header::CACHE_CONTROL, "no-cache, no-store"));
    response
}

/// A stream that says why there is none.
pub(super) fn only(refused: &Refused) -> HttpResponse {
    let mut events = sse::next(refused.body().as_bytes(), None);
    events.extend_from_slice(sse::COMPLETE.as_bytes());
    response().body(events)
}

/// What a subscription wants; or the bytes that say why it cannot be.
pub(super) async fn open(
    shared: &Shared,
    ready: &Ready,
    last: Option<&str>,
) -> Result<Result<Opened, serde_json::Value>, Refused> {
    let (time, began) = (shared.exposure.timeout, Instant::now());
    let Ok(opened) = tokio::time::timeout(time, shared.graph.open(ready, last)).await else {
        let message = "the subscription took too long to begin";
        return Err(Refused::late(message, time, began.elapsed()));
    };
    match opened {
        Ok(Some(opened)) => Ok(Ok(opened)),
        // A field that is left out by a directive: there is nothing to follow.
        Ok(None) => Ok(Err(json!([]))),
        Err(mut response) => {
            reply::present(&mut response, Outcome::Invalid);
            Ok(Err(json!(response.errors)))
        }
    }
}

/// Begins a stream.
pub(super) async fn begin(
    shared: &web::Data<Shared>,
    record: Rc<Record>,
    ready: Ready,
    caller: Caller,
    last: Option<&str>,
) -> Result<HttpResponse, Refused> {
    let permit = shared.permit()?;
    let (to, body) = mpsc::channel(WAITING);
    // What shows that the stream has begun.
    let _ = to.try_send(Bytes::from_static(sse::HEARTBEAT.as_bytes()));
    let opened = match ready.kind {
        OperationType::Subscription => Some(open(shared, &ready, last).await?),
        _ => None,
    };
    let mut entry = Entry::new(record, ready);
    if let Some(Err(errors)) = opened {
        entry.told.outcome = "invalid";
        return Ok(only(&Refused { errors, ..Refused::bad("") }));
    }
    let teller = Teller { shared: shared.clone(), to, entry, caller };
    match opened {
        Some(Ok(opened)) => actix_web::rt::spawn(teller.follow(opened)),
        _ => actix_web::rt::spawn(teller.once()),
    };
    Ok(response().streaming(stream::unfold((body, permit), next)))
}

/// Room is taken for as long as the connection holds what it was given.
type Body = (mpsc::Receiver<Bytes>, OwnedSemaphorePermit);

async fn next((mut body, permit): Body) -> Option<(Result<Bytes, std::convert::Infallible>, Body)> {
    let event = body.recv().await?;
    Some((Ok(event), (body, permit)))
}

/// Writes the events of one stream.
struct Teller {
    shared: web::Data<Shared>,
    to: mpsc::Sender<Bytes>,
    entry: Entry,
    caller: Caller,
}

impl Teller {
    async fn once(mut self) {
        let done = execute::execute(&self.shared, &self.entry.ready).await;
        let (ended, bytes) = match &done {
            Ok(done) => (done.ended(), done.bytes.clone()),
            Err(refused) => {
                let bytes = refused.body().into_bytes();
                let ended = Ended { bytes: bytes.len(), ..Ended::given_up(refused) };
                (ended, bytes)
            }
        };
        self.entry.ended(ended);
        if self.write(sse::next(&bytes, None).into()).await {
            self.write(Bytes::from_static(sse::COMPLETE.as_bytes())).await;
        }
    }

    async fn follow(mut self, opened: Opened) {
        let gauge = metrics::gauge!("xmtp_indexer_subscriptions_active", "transport" => "sse");
        gauge.increment(1.0);
        let (to, mut events) = mpsc::channel(1);
        let (hub, graph) = (self.shared.hub.clone(), self.shared.graph.clone());
        let ready = self.entry.ready.clone();
        // Behind what was told last; before that, where the reader asked to begin.
        let cursor = |position| types::log_cursor(self.shared.graph.known_tag()?, position);
        let mut place = opened.after.and_then(cursor).map(Arc::from);
        let telling = async {
            let every = self.shared.exposure.heartbeat;
            let mut heartbeat =
                tokio::time::interval_at(tokio::time::Instant::now() + every, every);
            loop {
                let event = tokio::select! {
                    event = events.recv() => event,
                    _ = heartbeat.tick() => {
                        if !self.write(Bytes::from_static(sse::HEARTBEAT.as_bytes())).await {
                            return;
                        }
                        continue;
                    }
                    // The stream ends without having completed: clients come again.
                    () = self.shared.stop.cancelled() => return,
                    () = self.to.closed() => return,
                    () = self.caller.ended() => {
                        let mut refused = access::ended();
                        refused.errors[0]["extensions"]["cursor"] = json!(place.as_deref());
                        self.entry.told.outcome = refused.code;
                        self.end(refused.body()).await;
                        return;
                    }
                };
                match event {
                    Some(Event::Answer { bytes, cursor }) => {
                        heartbeat.reset();
                        place.clone_from(&cursor);
                        if !self.write(sse::next(&bytes, cursor.as_deref()).into()).await {
                            self.entry.told.outcome = "slow";
                            return;
                        }
                        self.entry.told.answers += 1;
                        self.entry.told.bytes += bytes.len();
                    }
                    Some(Event::Ended { errors, slow }) => {
                        self.entry.told.outcome = if slow { "slow" } else { "error" };
                        self.end(json!({ "errors": errors }).to_string()).await;
                        return;
                    }
                    None => return,
                }
            }
        };
        tokio::select! {
            // What it has found is told before it ends.
            biased;
            () = telling => {}
            () = async {
                tail::follow(hub, graph, ready, opened, to).await;
                std::future::pending::<()>().await;
            } => {}
        }
        gauge.decrement(1.0);
    }

    /// Says why it is over.
    async fn end(&self, body: String) {
        if self.write(sse::next(body.as_bytes(), None).into()).await {
            self.write(Bytes::from_static(sse::COMPLETE.as_bytes())).await;
        }
    }

    /// Hands bytes to the connection. A reader who takes nothing for too long is left alone.
    async fn write(&self, bytes: Bytes) -> bool {
        let time = self.shared.exposure.sockets.write;
        matches!(tokio::time::timeout(time, self.to.send(bytes)).await, Ok(Ok(())))
    }
}
