//! `graphql-transport-ws` as a machine: frames and times go in, what to do comes out. It holds no socket and no clock.

use std::{collections::HashSet, time::Duration};

use serde_json::{Map, Value, json};

use super::{params::Params, refused::Refused};

/// The subprotocol.
pub(crate) const PROTOCOL: &str = "graphql-transport-ws";

/// Bytes of an operation's id, at most.
const ID: usize = 128;
/// Bytes of a close frame's reason, at most: a longer one breaks the connection.
const REASON: usize = 123;

/// Codes of close frames.
pub(crate) mod close {
    /// The server stops or the socket is old: connect again.
    pub(crate) const RESTART: u16 = 1012;
    /// Try again later: the reader was too slow, or its key cannot be checked now.
    pub(crate) const LATER: u16 = 1013;
    /// Not what the protocol says.
    pub(crate) const BAD: u16 = 4400;
    /// An operation before the acknowledgement.
    pub(crate) const UNAUTHORIZED: u16 = 4401;
    /// The initialisation was refused, or its key is not valid any more.
    pub(crate) const FORBIDDEN: u16 = 4403;
    /// None of the subprotocols that this server speaks.
    pub(crate) const SUBPROTOCOL: u16 = 4406;
    /// No initialisation in time.
    pub(crate) const TIMEOUT: u16 = 4408;
    /// An id that is in use.
    pub(crate) const DUPLICATE: u16 = 4409;
    /// A second initialisation.
    pub(crate) const TOO_MANY: u16 = 4429;
}

/// Bounds of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketLimits {
    /// How long the initialisation may take.
    pub init: Duration,
    /// How often an idle client is asked whether it is there.
    pub ping: Duration,
    /// How long it may be silent.
    pub silence: Duration,
    /// How long a socket may live. Clients connect again and resume.
    pub age: Duration,
    /// How long one frame may wait for a slow reader.
    pub write: Duration,
    /// How long a close frame may wait behind what is not read.
    pub farewell: Duration,
    /// Operations of a socket at once.
    pub operations: usize,
    /// Sockets and event streams of the process at once.
    pub connections: usize,
}

impl Default for SocketLimits {
    fn default() -> Self {
        SocketLimits {
            init: Duration::from_secs(3),
            ping: Duration::from_secs(15),
            silence: Duration::from_secs(45),
            age: Duration::from_secs(3_600),
            write: Duration::from_secs(10),
            farewell: Duration::from_secs(5),
            operations: 20,
            connections: 5_000,
        }
    }
}

/// What the socket's keeper shall do.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Send a text frame.
    Send(String),
    /// Send a ping of the WebSocket itself, which every client answers.
    Ping,
    /// Decide about the payload of the initialisation, and say so by `acknowledge` or `close`.
    Init(Map<String, Value>),
    /// Begin an operation.
    Start { id: String, params: Params },
    /// End an operation: nobody waits for it.
    Stop(String),
    /// Close the socket. Nothing comes after it.
    Close { code: u16, reason: String },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing was said yet.
    New,
    /// The initialisation is being decided.
    Deciding,
    Open,
    Closed,
}

/// One socket. Times are durations since it was opened.
#[derive(Debug)]
pub(crate) struct Protocol {
    limits: SocketLimits,
    state: State,
    running: HashSet<String>,
    heard: Duration,
    pinged: Duration,
}

impl Protocol {
    pub(crate) fn new(limits: SocketLimits) -> Protocol {
        Protocol {
            limits,
            state: State::New,
            running: HashSet::new(),
            heard: Duration::ZERO,
            pinged: Duration::ZERO,
        }
    }

    /// A text frame came.
    pub(crate) fn text(&mut self, text: &str, now: Duration) -> Vec<Action> {
        self.heard(now);
        if self.state == State::Closed {
            return Vec::new();
        }
        let message = match serde_json::from_str(text) {
            Ok(Value::Object(message)) => message,
            _ => return self.close(close::BAD, "a message is a JSON object"),
        };
        self.message(message)
    }

    /// A frame came that is no text.
    pub(crate) fn binary(&mut self) -> Vec<Action> {
        self.close(close::BAD, "messages are text")
    }

    /// Bytes came that are no frame, or too many.
    pub(crate) fn broken(&mut self, reason: &str) -> Vec<Action> {
        self.close(close::BAD, reason)
    }

    /// Something came, whatever it is.
    pub(crate) fn heard(&mut self, now: Duration) {
        self.heard = now;
    }

    fn message(&mut self, mut message: Map<String, Value>) -> Vec<Action> {
        let Some(Value::String(kind)) = message.remove("type") else {
            return self.close(close::BAD, "a message has a type");
        };
        match kind.as_str() {
            "connection_init" => self.init(message.remove("payload")),
            "ping" => match payload(message.remove("payload")) {
                Ok(None) => vec![Action::Send(r#"{"type":"pong"}"#.into())],
                Ok(Some(payload)) => {
                    vec![Action::Send(json!({ "type": "pong", "payload": payload }).to_string())]
                }
                Err(()) => self.close(close::BAD, "a payload is an object"),
            },
            "pong" => match payload(message.remove("payload")) {
                Ok(_) => Vec::new(),
                Err(()) => self.close(close::BAD, "a payload is an object"),
            },
            "subscribe" => self.subscribe(message),
            "complete" => match message.remove("id") {
                Some(Value::String(id)) => {
                    // One that ended while this was under way is no mistake.
                    if self.running.remove(&id) { vec![Action::Stop(id)] } else { Vec::new() }
                }
                _ => self.close(close::BAD, "complete needs an id"),
            },
            // The word is the caller's, and may be longer than a reason can be.
            _ => self.close(close::BAD, "no message of this protocol has this type"),
        }
    }

    fn init(&mut self, given: Option<Value>) -> Vec<Action> {
        if self.state != State::New {
            return self.close(close::TOO_MANY, "Too many initialisation requests");
        }
        match payload(given) {
            Ok(payload) => {
                self.state = State::Deciding;
                vec![Action::Init(payload.unwrap_or_default())]
            }
            Err(()) => self.close(close::BAD, "a payload is an object"),
        }
    }

    fn subscribe(&mut self, mut message: Map<String, Value>) -> Vec<Action> {
        if self.state != State::Open {
            return self.close(close::UNAUTHORIZED, "Unauthorized");
        }
        let (Some(Value::String(id)), Some(Value::Object(payload))) =
            (message.remove("id"), message.remove("payload"))
        else {
            return self.close(close::BAD, "subscribe needs an id and a payload");
        };
        if id.is_empty() || id.len() > ID {
            return self.close(close::BAD, "an id has 1 to 128 bytes");
        }
        if self.running.contains(&id) {
            return self.close(close::DUPLICATE, &format!("Subscriber for {id} already exists"));
        }
        let limit = self.limits.operations;
        if self.running.len() >= limit {
            let message = "too many operations on one socket: end some, or open another socket";
            let refused = Refused::new(429, "TOO_MANY_OPERATIONS", message).over(limit, limit + 1);
            return vec![Action::Send(error(&id, &refused.errors))];
        }
        match Params::from_object(payload) {
            Ok(params) => {
                self.running.insert(id.clone());
                vec![Action::Start { id, params }]
            }
            Err(_) => self.close(close::BAD, "the payload of subscribe is no request"),
        }
    }

    /// The initialisation is welcome.
    pub(crate) fn acknowledge(&mut self) -> Vec<Action> {
        if self.state != State::Deciding {
            return Vec::new();
        }
        self.state = State::Open;
        vec![Action::Send(r#"{"type":"connection_ack"}"#.into())]
    }

    /// An answer of an operation; nothing when nobody waits for it any more.
    pub(crate) fn next(&self, id: &str, answer: &[u8]) -> Option<String> {
        if self.state != State::Open || !self.running.contains(id) {
            return None;
        }
        let answer = std::str::from_utf8(answer).ok()?;
        let id = Value::from(id);
        Some(format!(r#"{{"id":{id},"type":"next","payload":{answer}}}"#))
    }

    /// An operation has ended, with errors or without.
    pub(crate) fn ended(&mut self, id: &str, errors: Option<&Value>) -> Option<String> {
        if self.state != State::Open || !self.running.remove(id) {
            return None;
        }
        Some(match errors {
            Some(errors) => error(id, errors),
            None => json!({ "id": id, "type": "complete" }).to_string(),
        })
    }

    /// Is this operation still wanted?
    #[cfg(test)]
    pub(crate) fn is_running(&self, id: &str) -> bool {
        self.running.contains(id)
    }

    /// Time has gone by.
    pub(crate) fn tick(&mut self, now: Duration) -> Vec<Action> {
        match self.state {
            State::Closed => Vec::new(),
            State::New if now >= self.limits.init => {
                self.close(close::TIMEOUT, "Connection initialisation timeout")
            }
            _ if now >= self.limits.age => {
                self.close(close::RESTART, "this socket is old: connect again and resume")
            }
            _ if now.saturating_sub(self.heard) >= self.limits.silence => {
                self.close(close::TIMEOUT, "no sign of life")
            }
            _ if now.saturating_sub(self.heard.max(self.pinged)) >= self.limits.ping => {
                self.pinged = now;
                vec![Action::Ping]
            }
            _ => Vec::new(),
        }
    }

    /// When `tick` has something to say at the latest, if nothing comes.
    pub(crate) fn wakes(&self) -> Duration {
        let pings = self.heard.max(self.pinged) + self.limits.ping;
        let silence = self.heard + self.limits.silence;
        let wakes = pings.min(silence).min(self.limits.age);
        if self.state == State::New { wakes.min(self.limits.init) } else { wakes }
    }

    /// Ends it all.
    pub(crate) fn close(&mut self, code: u16, reason: &str) -> Vec<Action> {
        if self.state == State::Closed {
            return Vec::new();
        }
        self.state = State::Closed;
        let mut actions: Vec<Action> = self.running.drain().map(Action::Stop).collect();
        let mut end = reason.len().min(REASON);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        actions.push(Action::Close { code, reason: reason[..end].to_owned() });
        actions
    }
}

fn payload(given: Option<Value>) -> Result<Option<Map<String, Value>>, ()> {
    match given {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(payload)) => Ok(Some(payload)),
        Some(_) => Err(()),
    }
}

fn error(id: &str, errors: &Value) -> String {
    json!({ "id": id, "type": "error", "payload": errors }).to_string()
}
