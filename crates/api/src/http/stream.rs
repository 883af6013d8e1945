//! Event streams: one operation a response.

use std::{sync::Arc, time::Instant};

use actix_web::{HttpResponse, http::header, web};
use async_graphql::parser::types::OperationType;
use bytes::Bytes;
use futures::stream;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{
    access::{self, Caller},
    execute, headers,
    record::{Ended, Record},
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
    let Ok(opened) = tokio::time::timeout(time, shared.graph.open(ready)).await else {
        let message = "the subscription took too long to begin";
        return Err(Refused::late(message, time, began.elapsed()));
    };
    match opened {
        Ok(Some(mut opened)) => {
            // A browser that reconnects says where it was, and knows better than its address.
            if let Some(at) = last.and_then(|last| types::position(last).ok()) {
                opened.after = Some(at);
            }
            Ok(Ok(opened))
        }
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
    ready: Ready,
    caller: Caller,
    last: Option<&str>,
) -> Result<HttpResponse, Refused> {
    let permit = shared.permit()?;
    let (to, body) = mpsc::channel(WAITING);
    // What shows that the stream has begun.
    let _ = to.try_send(Bytes::from_static(sse::HEARTBEAT.as_bytes()));
    let teller = Teller { shared: shared.clone(), to, record: Record::begin("sse"), caller };
    teller.record.by(&teller.caller);
    if ready.kind == OperationType::Subscription {
        match open(shared, &ready, last).await? {
            Ok(opened) => {
                actix_web::rt::spawn(teller.follow(ready, opened));
            }
            Err(errors) => {
                teller.record.ended(&ready, Ended { outcome: "invalid", ..Ended::default() });
                let refused = Refused { errors, ..Refused::bad("") };
                return Ok(only(&refused));
            }
        }
    } else {
        actix_web::rt::spawn(teller.once(ready));
    }
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
    record: Record,
    caller: Caller,
}

impl Teller {
    async fn once(self, ready: Ready) {
        let done = execute::execute(&self.shared, &ready).await;
        let (ended, bytes) = match &done {
            Ok(done) => (done.ended(), done.bytes.clone()),
            Err(refused) => {
                let bytes = refused.body().into_bytes();
                let ended = Ended { bytes: bytes.len(), ..Ended::given_up(refused) };
                (ended, bytes)
            }
        };
        self.record.ended(&ready, ended);
        if self.write(sse::next(&bytes, None).into()).await {
            self.write(Bytes::from_static(sse::COMPLETE.as_bytes())).await;
        }
    }

    async fn follow(self, ready: Ready, opened: Opened) {
        let gauge = metrics::gauge!("xmtp_indexer_subscriptions_active", "transport" => "sse");
        gauge.increment(1.0);
        let (to, mut events) = mpsc::channel(1);
        let (hub, graph) = (self.shared.hub.clone(), self.shared.graph.clone());
        let told = std::cell::Cell::new((0_u64, 0_usize, "ok"));
        // Behind what was told last; before that, where the reader asked to begin.
        let mut place = opened.after.and_then(types::log_cursor).map(Arc::from);
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
                        let (answers, sum, _) = told.get();
                        told.set((answers, sum, refused.code));
                        self.end(refused.body()).await;
                        return;
                    }
                };
                match event {
                    Some(Event::Answer { bytes, cursor }) => {
                        heartbeat.reset();
                        let (answers, sum, outcome) = told.get();
                        told.set((answers + 1, sum + bytes.len(), outcome));
                        place.clone_from(&cursor);
                        if !self.write(sse::next(&bytes, cursor.as_deref()).into()).await {
                            told.set((answers, sum, "slow"));
                            return;
                        }
                    }
                    Some(Event::Ended { errors, slow }) => {
                        let (answers, sum, _) = told.get();
                        told.set((answers, sum, if slow { "slow" } else { "error" }));
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
                tail::follow(hub, graph, ready.clone(), opened, to).await;
                std::future::pending::<()>().await;
            } => {}
        }
        gauge.decrement(1.0);
        let (answers, bytes, outcome) = told.get();
        self.record.ended(&ready, Ended { outcome, answers, bytes, ..Ended::default() });
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
