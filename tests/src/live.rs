//! Readers who follow what is indexed, and go on behind their last cursor whenever the connection ends.

use std::{
    hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher},
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bench::socket::{Frame, Socket};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// The first pause before a client comes again; each further one is twice as long,
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// but no longer than this.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);

/// How a reader is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `graphql-transport-ws`.
    Socket,
    /// An event stream, which is one response.
    Events,
}

/// What others may look at while a reader follows.
#[derive(Debug, Default)]
pub struct Progress {
    /// How often a connection was there and was told something, or that it is there.
    pub connections: AtomicUsize,
    /// How much was told.
    pub told: AtomicUsize,
    last_error: Mutex<String>,
}

impl Progress {
    /// Why the last connection ended.
    pub fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One of what was told, short: the hash of its cursor and its id.
pub type Mark = u64;

/// The mark of an edge that has `cursor` and `node { id }`.
pub fn mark(cursor: &str, id: &str) -> Mark {
    BuildHasherDefault::<DefaultHasher>::default().hash_one((cursor, id))
}

/// A reader.
pub struct Follower {
    address: SocketAddr,
    way: Way,
    http: reqwest::Client,
    document: String,
    field: String,
    cursor: String,
    told: Vec<Mark>,
    progress: Arc<Progress>,
}

impl Follower {
    /// Somebody who wants everything of a field behind a cursor; `filter` may be empty.
    pub fn new(address: SocketAddr, way: Way, field: &str, filter: &str, after: &str) -> Follower {
        Follower {
            address,
            way,
            // A connection of its own, as another client has.
            http: reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap(),
            document: format!(
                "subscription ($after: String) {{ {field}({filter} after: $after) {{ cursor node {{ id }} }} }}"
            ),
            field: field.to_owned(),
            cursor: after.to_owned(),
            told: Vec::new(),
            progress: Arc::default(),
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<Progress> {
        self.progress.clone()
    }

    /// Follows until told to stop; everything that was told, in its order.
    pub async fn follow(mut self, stop: CancellationToken) -> Vec<Mark> {
        stop.run_until_cancelled(self.come_again_and_again()).await;
        self.told
    }

    async fn come_again_and_again(&mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let before = self.told.len();
            let ended = match self.way {
                Way::Socket => self.socket().await.map_err(|error| error.to_string()),
                Way::Events => self.events().await,
            };
            *self.progress.last_error.lock().unwrap_or_else(PoisonError::into_inner) =
                ended.err().unwrap_or_default();
            pause =
                if self.told.len() > before { FIRST_PAUSE } else { LONGEST_PAUSE.min(pause * 2) };
            // Not all at the same moment.
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
        }
    }

    fn parameters(&self) -> Value {
        json!({ "query": self.document, "variables": { "after": self.cursor } })
    }

    fn is_connected(&self) {
        self.progress.connections.fetch_add(1, Ordering::Relaxed);
        self.progress.last_error.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn socket(&mut self) -> std::io::Result<()> {
        let mut socket =
            Socket::open(self.address, "/graphql", Some("graphql-transport-ws")).await?;
        socket.initialise().await?;
        let subscribe = json!({ "id": "1", "type": "subscribe", "payload": self.parameters() });
        socket.send(&Frame::text(subscribe.to_string())).await?;
        self.is_connected();
        loop {
            let message: Value = serde_json::from_slice(&socket.text().await?)?;
            match message["type"].as_str() {
                Some("next") => self.hear(&message["payload"]),
                Some("ping") => socket.send(&Frame::text(r#"{"type":"pong"}"#)).await?,
                _ => return Err(std::io::Error::other(message.to_string())),
            }
        }
    }

    async fn events(&mut self) -> Result<(), String> {
        let told = |error: reqwest::Error| error.to_string();
        let asked = self.http.post(format!("http://{}/graphql", self.address));
        let asked = asked.header("accept", "text/event-stream").json(&self.parameters());
        let answer = asked.send().await.map_err(told)?;
        if answer.status() != 200 {
            return Err(format!("{}: {}", answer.status(), answer.text().await.map_err(told)?));
        }
        self.is_connected();
        let (mut bytes, mut text) = (answer.bytes_stream(), Vec::new());
        while let Some(part) = bytes.next().await {
            text.extend_from_slice(&part.map_err(told)?);
            // Whole events only: a server that is killed may be in the middle of one.
            let whole = text.windows(2).rposition(|two| two == b"\n\n").map_or(0, |at| at + 2);
            for line in String::from_utf8_lossy(&text[..whole]).lines() {
                if let Some(data) = line.strip_prefix("data: ") {
                    self.hear(&serde_json::from_str(data).map_err(|error| error.to_string())?);
                }
            }
            text.drain(..whole);
        }
        Ok(())
    }

    fn hear(&mut self, answer: &Value) {
        assert!(answer.get("errors").is_none(), "{} was told {answer}", self.document);
        let edge = &answer["data"][&self.field];
        let (cursor, id) = (edge["cursor"].as_str().unwrap(), edge["node"]["id"].as_str().unwrap());
        self.told.push(mark(cursor, id));
        cursor.clone_into(&mut self.cursor);
        self.progress.told.store(self.told.len(), Ordering::Relaxed);
    }
}
