//! WebSockets: keeps one, and does what the protocol says.

use std::{collections::HashMap, sync::Arc};

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseReason, ProtocolError};
use serde_json::{Map, Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
    time::Instant,
};

use super::{
    access::{self, Caller},
    frames, headers,
    operation::{From, Operation, Out},
    outlet::{Lost, Outlet},
    record::{Entry, Record},
    server::Shared,
};
use crate::{
    intake::Ready,
    transport::{
        media::Media,
        params::Params,
        refused::Refused,
        ws::{self, Action, Protocol, close},
    },
};

/// Answers of all operations that wait for the socket.
const WAITING: usize = 16;
/// What the answers of one socket that are made side by side may cost together, in units of `guard`. Small ones do not
/// wait for one another; large ones are made one after the other, and leave room for other callers.
const AT_ONCE: u32 = 4_000;
/// What costs so much may keep a connection to the database for a while: a count over all pages does.
const HEAVY: u64 = 200;

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
    let (response, outlet) = Outlet::new(session, response, &shared.exposure.sockets);
    let (to, outs) = mpsc::channel(WAITING);
    let socket = Socket {
        protocol: Protocol::new(shared.exposure.sockets.clone()),
        shared,
        caller,
        outlet,
        began: Instant::now(),
        operations: HashMap::new(),
        serial: 0,
        to,
        room: Arc::new(Semaphore::new(AT_ONCE as usize)),
        _permit: permit,
    };
    actix_web::rt::spawn(socket.keep(messages, outs, spoken));
    Ok(response)
}

struct Socket {
    shared: web::Data<Shared>,
    caller: Caller,
    outlet: Outlet,
    protocol: Protocol,
    began: Instant,
    operations: HashMap<String, Running>,
    serial: u64,
    to: mpsc::Sender<(From, Out)>,
    /// Whoever has as much as an answer costs may have it made.
    room: Arc<Semaphore>,
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
                return self.outlet.pong(&bytes).await.map_err(|_| Over);
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
                    self.outlet.ping().await.map_err(|_| Over)?;
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
            Out::Next { bytes, cursor, room } => {
                running.cursor = cursor.or(running.cursor.take());
                let text = self.protocol.next(&from.id, &bytes);
                drop(bytes);
                let said = match text {
                    Some(text) => self.send(text).await,
                    None => Ok(()),
                };
                // The next answer is made when this one is on its way.
                drop(room);
                said
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
        match self.outlet.text(text).await {
            Ok(()) => Ok(()),
            Err(Lost::Slow) => self.slow().await,
            Err(Lost::Gone) => Err(Over),
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
        self.outlet.close(reason).await;
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
                let from = From { id: id.clone(), serial: self.serial };
                let (to, room) = (self.to.clone(), (self.room.clone(), share(&ready)));
                let entry = Entry::new(record.into(), ready);
                let operation = Operation::new(self.shared.clone(), from, to, room, entry);
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

/// How much of a socket's room an answer takes. What it costs says little about the bytes of messages, of which three
/// such answers may be made at once, and about the time of the database where much is looked through: six.
fn share(ready: &Ready) -> u32 {
    let least = match ready.cost {
        _ if ready.shows_messages() => AT_ONCE / 3,
        HEAVY.. => AT_ONCE / 6,
        _ => 1,
    };
    u32::try_from(ready.cost).map_or(AT_ONCE, |cost| cost.clamp(least, AT_ONCE))
}
