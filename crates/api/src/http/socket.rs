//! WebSockets: keeps one, and does what the protocol says.

use std::{collections::HashMap, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseReason, ProtocolError, Session};
use async_graphql::parser::types::OperationType;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    task::JoinHandle,
    time::Instant,
};

use super::{
    access::{self, Caller},
    execute, frames, headers,
    record::{Ended, Record},
    server::Shared,
    stream,
};
use crate::{
    intake::Ready,
    tail::{self, Event},
    transport::{
        media::Media,
        params::Params,
        refused::Refused,
        reply::Outcome,
        ws::{self, Action, Protocol, close},
    },
};

/// Answers of all operations that wait for the socket.
const WAITING: usize = 16;

/// What an operation gives its socket.
enum Out {
    Next { bytes: Bytes, cursor: Option<Arc<str>> },
    Ended { errors: Option<Value>, slow: bool },
}

/// Which operation it is: ids may be used again.
struct From {
    id: String,
    serial: u64,
}

/// Opens a socket, when the page that asks may have one.
pub(super) async fn open(
    shared: web::Data<Shared>,
    http: &HttpRequest,
    payload: web::Payload,
) -> HttpResponse {
    match handshake(shared, http, payload).await {
        Ok(response) => response,
        Err(refused) => {
            Record::begin("ws").refused(&refused, Some(refused.status(Media::Json)));
            headers::refuse(&refused, Media::Json)
        }
    }
}

async fn handshake(
    shared: web::Data<Shared>,
    http: &HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refused> {
    let (origin, host) = (headers::text(http, &header::ORIGIN), headers::text(http, &header::HOST));
    if !shared.exposure.cors.may_connect(origin, host) {
        return Err(Refused::new(403, "FORBIDDEN", "pages of this origin may not connect"));
    }
    let caller = shared.knock(http).await?;
    let permit = shared.permit()?;
    let limit = shared.intake.limits().body_bytes;
    let (response, session, messages) = frames::bounded(http, payload, limit)
        .and_then(|payload| actix_ws::handle_with_protocols(http, payload, &[ws::PROTOCOL]))
        .map_err(|_| Refused::bad("this is no WebSocket handshake"))?;
    let spoken = response.headers().contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    let messages =
        messages.max_frame_size(limit).aggregate_continuations().max_continuation_size(limit);
    let (to, outs) = mpsc::channel(WAITING);
    let socket = Socket {
        protocol: Protocol::new(shared.exposure.sockets.clone()),
        shared,
        caller,
        session,
        began: Instant::now(),
        operations: HashMap::new(),
        serial: 0,
        to,
        _permit: permit,
    };
    actix_web::rt::spawn(socket.keep(messages, outs, spoken));
    Ok(response)
}

struct Socket {
    shared: web::Data<Shared>,
    caller: Caller,
    session: Session,
    protocol: Protocol,
    began: Instant,
    operations: HashMap<String, Running>,
    serial: u64,
    to: mpsc::Sender<(From, Out)>,
    _permit: OwnedSemaphorePermit,
}

/// An operation under way.
struct Running {
    serial: u64,
    task: JoinHandle<()>,
    /// Behind what was told last.
    cursor: Option<Arc<str>>,
}

/// The socket is at its end.
struct Over;

impl Socket {
    async fn keep(
        mut self,
        mut messages: AggregatedMessageStream,
        mut outs: mpsc::Receiver<(From, Out)>,
        spoken: bool,
    ) {
        let gauge = metrics::gauge!("xmtp_indexer_sockets_open");
        gauge.increment(1.0);
        let mut over = Ok(());
        if !spoken {
            let actions = self.protocol.close(close::SUBPROTOCOL, "Subprotocol not acceptable");
            over = self.act(actions).await;
        }
        while over.is_ok() {
            let wakes = self.began + self.protocol.wakes();
            let (stop, caller) = (self.shared.stop.clone(), self.caller.clone());
            over = tokio::select! {
                message = messages.recv() => self.message(message).await,
                Some((from, out)) = outs.recv() => self.out(from, out).await,
                () = tokio::time::sleep_until(wakes) => {
                    let actions = self.protocol.tick(self.began.elapsed());
                    self.act(actions).await
                }
                () = caller.ended() => self.turn_away().await,
                () = stop.cancelled() => {
                    let actions = self.protocol.close(close::RESTART, "the server stops: connect again and resume");
                    self.act(actions).await
                }
            };
        }
        for (_, running) in self.operations.drain() {
            running.task.abort();
        }
        gauge.decrement(1.0);
    }

    async fn message(
        &mut self,
        message: Option<Result<AggregatedMessage, ProtocolError>>,
    ) -> Result<(), Over> {
        let now = self.began.elapsed();
        let actions = match message {
            Some(Ok(AggregatedMessage::Text(text))) => self.protocol.text(&text, now),
            Some(Ok(AggregatedMessage::Binary(_))) => self.protocol.binary(),
            Some(Ok(AggregatedMessage::Ping(bytes))) => {
                self.protocol.heard(now);
                let time = self.shared.exposure.sockets.write;
                return match tokio::time::timeout(time, self.session.pong(&bytes)).await {
                    Ok(Ok(())) => Ok(()),
                    _ => Err(Over),
                };
            }
            Some(Ok(AggregatedMessage::Pong(_))) => {
                self.protocol.heard(now);
                return Ok(());
            }
            Some(Ok(AggregatedMessage::Close(reason))) => {
                return self.farewell(reason).await;
            }
            Some(Err(ProtocolError::Overflow | ProtocolError::InvalidLength(_))) => {
                self.protocol.broken("a message is too large")
            }
            Some(Err(ProtocolError::Io(error))) => match error.kind() {
                std::io::ErrorKind::InvalidData => self.protocol.broken("not text in UTF-8"),
                // Or the connection is gone, and nobody reads this.
                _ => self.protocol.broken("a message is too large"),
            },
            Some(Err(_)) => self.protocol.broken("not what a WebSocket says"),
            None => return Err(Over),
        };
        self.act(actions).await
    }

    async fn act(&mut self, actions: Vec<Action>) -> Result<(), Over> {
        for action in actions {
            match action {
                Action::Send(text) => self.send(text).await?,
                Action::Ping => {
                    let time = self.shared.exposure.sockets.write;
                    let sent = tokio::time::timeout(time, self.session.ping(b"")).await;
                    sent.map_err(|_| Over)?.map_err(|_| Over)?;
                }
                Action::Init(payload) => {
                    let actions = self.begin(&payload).await;
                    Box::pin(self.act(actions)).await?;
                }
                Action::Start { id, params } => self.start(id, params).await?,
                Action::Stop(id) => {
                    if let Some(running) = self.operations.remove(&id) {
                        running.task.abort();
                    }
                }
                Action::Close { code, reason } => {
                    let reason = CloseReason { code: code.into(), description: Some(reason) };
                    return self.farewell(Some(reason)).await;
                }
            }
        }
        Ok(())
    }

    async fn out(&mut self, from: From, out: Out) -> Result<(), Over> {
        let Some(running) = self.operations.get_mut(&from.id) else { return Ok(()) };
        if running.serial != from.serial {
            return Ok(());
        }
        match out {
            Out::Next { bytes, cursor } => {
                running.cursor = cursor.or(running.cursor.take());
                match self.protocol.next(&from.id, &bytes) {
                    Some(text) => self.send(text).await,
                    None => Ok(()),
                }
            }
            Out::Ended { errors, slow } => {
                self.operations.remove(&from.id);
                if let Some(text) = self.protocol.ended(&from.id, errors.as_ref()) {
                    self.send(text).await?;
                }
                if slow {
                    return self.slow().await;
                }
                Ok(())
            }
        }
    }

    /// Hands a frame to the connection. A reader who takes nothing for too long is cut off.
    async fn send(&mut self, text: String) -> Result<(), Over> {
        let time = self.shared.exposure.sockets.write;
        match tokio::time::timeout(time, self.session.text(text)).await {
            Ok(sent) => sent.map_err(|_| Over),
            Err(_) => self.slow().await,
        }
    }

    /// Decides about what the client sends when it begins.
    async fn begin(&mut self, payload: &Map<String, Value>) -> Vec<Action> {
        match self.shared.begin(&self.caller, payload).await {
            Ok(caller) => {
                self.caller = caller;
                self.protocol.acknowledge()
            }
            Err(refused) => {
                Record::begin("ws").refused(&refused, None);
                // The database is away: the key may be good.
                let code = if refused.status == 503 { close::LATER } else { close::FORBIDDEN };
                self.protocol.close(code, refused.message())
            }
        }
    }

    /// The key is not valid any more: each operation is told so, with the cursor to resume behind.
    async fn turn_away(&mut self) -> Result<(), Over> {
        let refused = access::ended();
        let running: Vec<(String, Running)> = self.operations.drain().collect();
        for (id, running) in running {
            running.task.abort();
            let mut errors = refused.errors.clone();
            errors[0]["extensions"]["cursor"] = json!(running.cursor.as_deref());
            if let Some(text) = self.protocol.ended(&id, Some(&errors)) {
                self.send(text).await?;
            }
        }
        let actions = self.protocol.close(close::FORBIDDEN, refused.message());
        self.act(actions).await
    }

    async fn slow(&mut self) -> Result<(), Over> {
        metrics::counter!("xmtp_indexer_subscriptions_cut_total", "reason" => "SLOW_SOCKET")
            .increment(1);
        let mut actions = self.protocol.close(close::LATER, "too slow: connect again and resume");
        let Some(Action::Close { code, reason }) = actions.pop() else { return Err(Over) };
        let reason = CloseReason { code: code.into(), description: Some(reason) };
        self.farewell(Some(reason)).await
    }

    /// Sends the last frame.
    async fn farewell(&self, reason: Option<CloseReason>) -> Result<(), Over> {
        let time = self.shared.exposure.sockets.farewell;
        let _ = tokio::time::timeout(time, self.session.clone().close(reason)).await;
        Err(Over)
    }

    async fn start(&mut self, id: String, params: Params) -> Result<(), Over> {
        self.serial += 1;
        let record = Record::begin("ws");
        record.by(&self.caller);
        let listings = self.shared.listings(&self.caller);
        let admitted = self.shared.pass(&self.caller);
        match admitted.and_then(|()| self.shared.intake.admit(params, listings)) {
            Ok(ready) => {
                let operation = Operation {
                    shared: self.shared.clone(),
                    from: From { id: id.clone(), serial: self.serial },
                    to: self.to.clone(),
                    ready,
                    record,
                    told: (0, 0),
                };
                let task = actix_web::rt::spawn(operation.run());
                let running = Running { serial: self.serial, task, cursor: None };
                self.operations.insert(id, running);
                Ok(())
            }
            Err(refused) => {
                record.refused(&refused, None);
                match self.protocol.ended(&id, Some(&refused.errors)) {
                    Some(text) => self.send(text).await,
                    None => Ok(()),
                }
            }
        }
    }
}

/// One operation of a socket. Aborted when nobody waits for it any more; the line in the log is written all the same.
struct Operation {
    shared: web::Data<Shared>,
    from: From,
    to: mpsc::Sender<(From, Out)>,
    ready: Ready,
    record: Record,
    /// Answers, and their bytes.
    told: (u64, usize),
}

impl Drop for Operation {
    fn drop(&mut self) {
        if self.ready.kind == OperationType::Subscription {
            let (answers, bytes) = self.told;
            self.record
                .ended(&self.ready, Ended { outcome: "ok", answers, bytes, ..Ended::default() });
            metrics::gauge!("xmtp_indexer_subscriptions_active", "transport" => "ws")
                .decrement(1.0);
        }
    }
}

impl Operation {
    async fn run(mut self) {
        let (errors, slow) = if self.ready.kind == OperationType::Subscription {
            metrics::gauge!("xmtp_indexer_subscriptions_active", "transport" => "ws")
                .increment(1.0);
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
        let done = match execute::execute(&self.shared, &self.ready).await {
            Ok(done) => done,
            Err(refused) => {
                self.record.ended(&self.ready, Ended::given_up(&refused));
                return Some(refused.errors);
            }
        };
        self.record.ended(&self.ready, done.ended());
        if done.outcome == Outcome::Invalid {
            let body: Value = serde_json::from_slice(&done.bytes).unwrap_or_default();
            return Some(body["errors"].clone());
        }
        self.give(Out::Next { bytes: done.bytes.into(), cursor: None }).await;
        None
    }

    async fn follow(&mut self) -> (Option<Value>, bool) {
        let opened = match stream::open(&self.shared, &self.ready, None).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(errors)) => {
                return (
                    Some(if errors == json!([]) { Value::Null } else { errors })
                        .filter(|errors| !errors.is_null()),
                    false,
                );
            }
            Err(refused) => return (Some(refused.errors), false),
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
                    self.told = (self.told.0 + 1, self.told.1 + bytes.len());
                    self.give(Out::Next { bytes, cursor }).await;
                }
                Some(Event::Ended { errors, slow }) => return (Some(errors), slow),
                None => return (None, false),
            }
        }
    }
}
