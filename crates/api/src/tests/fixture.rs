//! A database of its own for each test, with the captured traffic indexed, and a graph that answers from it.

use std::{
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use store::{Options, Page, Projector, Store, append::Record, projector::Config};
use wire::{Envelope, Verifier};

use crate::{
    Limits, Listings, Persisted, QueueDepth, QueueProbe, Trusted,
    intake::Intake,
    schema::{Graph, sdl},
    transport::params::Params,
};

/// An answer, read.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) data: Value,
    pub(super) errors: Vec<Value>,
    pub(super) extensions: Value,
    pub(super) statements: u64,
}

pub(super) struct Indexed {
    pub(super) store: Store,
    pub(super) graph: Graph,
    intake: Intake,
    url: String,
    name: String,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

fn read(file: &str) -> String {
    let path = format!("{}/../devnet/captures/{file}", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    text
}

/// The captured traffic of official clients.
pub(super) fn capture() -> Vec<Envelope> {
    let text = read("legacy-a/envelopes.ndjson.gz");
    text.lines().map(|line| wire::json::from_line(line).unwrap()).collect()
}

/// What the clients themselves say about it.
pub(super) fn truth() -> Value {
    serde_json::from_str(&read("legacy-a/truth.json.gz")).unwrap()
}

pub(super) fn queue() -> QueueProbe {
    Arc::new(|| Box::pin(async { Some(QueueDepth { ready: 3, unacknowledged: 2 }) }))
}

/// Connections of somebody who may only read.
fn reader(url: String) -> Store {
    let role = Some(store::grants::READER.to_owned());
    Store::open(Options { role, readers: true, ..Options::new(url) }).unwrap()
}

/// Runs statements on a server, outside of any pool.
async fn run(url: &str, statements: &[String]) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement.clone())).execute(&mut connection).await?;
    }
    connection.close().await
}

impl Indexed {
    #[expect(clippy::disallowed_methods, reason = "tests get their server from the environment")]
    pub(super) async fn empty() -> Indexed {
        let url = std::env::var("DATABASE_URL")
            .expect("DATABASE_URL names the server to test on; bin/test starts one and sets it");
        let name = format!("api{}_{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let fresh = [format!("drop database if exists {name}"), format!("create database {name}")];
        run(&url, &fresh).await.unwrap();
        let base = url.rsplit_once('/').map_or(url.as_str(), |(base, _)| base);
        let store = Store::connect(Options::new(format!("{base}/{name}"))).await.unwrap();
        store.migrate().await.unwrap();
        let graph = Graph::new(reader(format!("{base}/{name}")), "test", queue());
        // Wide enough for whatever tests ask at once.
        let limits =
            Limits { complexity: 1_000_000, nodes: 10_000, aliases: 100, ..Limits::default() };
        let intake = Intake::new(limits, &sdl(), Persisted::Off, Trusted::default());
        Indexed { store, graph, intake, url, name }
    }

    pub(super) async fn with(envelopes: Vec<Envelope>) -> Indexed {
        let indexed = Indexed::empty().await;
        indexed.add(envelopes).await;
        indexed
    }

    /// Connections for a server, as somebody who may only read. They live on the threads of who opens them, and end with these: a server's own.
    pub(super) fn connect(&self) -> Store {
        let base = self.url.rsplit_once('/').map_or(self.url.as_str(), |(base, _)| base);
        reader(format!("{base}/{}", self.name))
    }

    pub(super) async fn add(&self, envelopes: Vec<Envelope>) {
        for part in envelopes.chunks(1_000) {
            self.append(part.iter().cloned().map(Record::from).collect()).await;
        }
        let config = Config::default();
        Projector::new(self.store.clone(), Arc::new(Verifier::default()), config)
            .catch_up()
            .await
            .unwrap();
    }

    /// Adds to the log, and projects nothing.
    pub(super) async fn append(&self, records: Vec<Record>) {
        let page = Page { source: "node".into(), progress: Vec::new(), records };
        self.store.append(&[page]).await.unwrap();
    }

    /// Runs statements as the owner of the database.
    pub(super) async fn execute(&self, statements: &str) {
        let mut connection = self.store.connection().await.unwrap();
        let statements = AssertSqlSafe(statements.to_owned());
        sqlx::raw_sql(statements).execute(&mut *connection).await.unwrap();
    }

    /// An answer as it is sent, and the number of statements that it took.
    async fn sent(&self, query: &str, variables: Value) -> (Vec<u8>, u64) {
        let body = json!({ "query": query, "variables": variables }).to_string();
        let params = Params::from_body(body.as_bytes()).unwrap();
        let ready = self
            .intake
            .admit(params, Listings::Open)
            .unwrap_or_else(|refused| panic!("{query}: {refused:?}"));
        let answer = self.graph.answer(&ready, 64 << 20).await.unwrap();
        let statements = answer.statements;
        (answer.into_bytes(), statements)
    }

    pub(super) async fn text(&self, query: &str, variables: Value) -> String {
        String::from_utf8(self.sent(query, variables).await.0).unwrap()
    }

    pub(super) async fn answer(&self, query: &str, variables: Value) -> Reply {
        let (bytes, statements) = self.sent(query, variables).await;
        let answer: Value = serde_json::from_slice(&bytes).unwrap();
        Reply {
            data: answer["data"].clone(),
            errors: answer["errors"].as_array().cloned().unwrap_or_default(),
            extensions: answer["extensions"].clone(),
            statements,
        }
    }

    /// The data of an answer without errors.
    pub(super) async fn ask(&self, query: &str, variables: Value) -> Value {
        let answer = self.answer(query, variables).await;
        assert!(answer.errors.is_empty(), "{query}: {:?}", answer.errors);
        answer.data
    }

    /// The code of the one error of an answer.
    pub(super) async fn code(&self, query: &str, variables: Value) -> String {
        let answer = self.answer(query, variables).await;
        assert_eq!(answer.errors.len(), 1, "{query}: {:?}", answer.errors);
        answer.errors[0]["extensions"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// All nodes of a list. `query` pages forward by `$first` and `$after`; its one root field is the connection.
    pub(super) async fn all(&self, query: &str, first: u32) -> Vec<Value> {
        let mut nodes = Vec::new();
        let mut after = Value::Null;
        loop {
            let variables = serde_json::json!({ "first": first, "after": after });
            let data = self.ask(query, variables).await;
            let connection = data.as_object().unwrap().values().next().unwrap().clone();
            nodes.extend(connection["nodes"].as_array().unwrap().iter().cloned());
            if connection["pageInfo"]["hasNextPage"] != true {
                return nodes;
            }
            after = connection["pageInfo"]["endCursor"].clone();
        }
    }
}

impl Drop for Indexed {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        // A thread and a connection of its own: the test's runtime stands still while it drops.
        let dropper = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let _ = run(&url, &[format!("drop database if exists {name} with (force)")]).await;
            });
        });
        let _ = dropper.join();
    }
}
