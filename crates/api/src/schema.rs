//! The schema, and how one request is answered from one moment of the database.

use std::sync::Arc;

use async_graphql::{EmptyMutation, Request, Response, SDLExportOptions, Schema, Value};
use chrono::Utc;
use futures::StreamExt as _;
use store::Store;

use crate::{
    scope::{Asked, QueueProbe, Scope},
    tail::{Cell, Opened, Turn},
    types::{Query, Subscription, log_cursor},
};

/// Levels of a query, at most. The guard has said so before, more exactly.
const DEPTH: usize = 24;
/// Selections inside of selections, fragments expanded; the guard has said so before as well.
const LEVELS: usize = 64;

type Built = Schema<Query, EmptyMutation, Subscription>;

fn build(introspection: bool) -> Built {
    let builder = Schema::build(Query, EmptyMutation, Subscription)
        .limit_depth(DEPTH)
        .limit_recursive_depth(LEVELS);
    // Suggestions would tell the names one by one.
    let hidden = |builder: async_graphql::SchemaBuilder<_, _, _>| {
        builder.disable_introspection().disable_suggestions()
    };
    if introspection { builder.finish() } else { hidden(builder).finish() }
}

/// The schema in GraphQL's own language.
#[must_use]
pub fn sdl() -> String {
    let mut sdl =
        build(true).sdl_with_options(SDLExportOptions::new().prefer_single_line_descriptions());
    while sdl.ends_with('\n') {
        sdl.pop();
    }
    sdl.push('\n');
    sdl
}

/// Answers requests. Cloning is cheap.
#[derive(Clone)]
pub struct Graph {
    schema: Built,
    store: Store,
    network: Arc<str>,
    queue: QueueProbe,
}

/// An answer, and what it took.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub response: Response,
    /// The id under which the log tells more.
    pub request_id: String,
    /// How many statements were sent to the database.
    pub statements: u64,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("network", &self.network).finish_non_exhaustive()
    }
}

impl Graph {
    /// Answers from this database.
    #[must_use]
    pub fn new(store: Store, network: &str, queue: QueueProbe) -> Graph {
        Graph { schema: build(true), store, network: network.into(), queue }
    }

    /// The same, without telling what could be asked.
    #[must_use]
    pub fn without_introspection(self) -> Graph {
        Graph { schema: build(false), ..self }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// What a new request stands on.
    pub(crate) fn scope(&self) -> Arc<Scope> {
        Arc::new(Scope::new(
            self.store.clone(),
            self.network.clone(),
            self.queue.clone(),
            Utc::now(),
        ))
    }

    /// Gives back what a request stood on.
    pub(crate) async fn close(scope: Arc<Scope>) {
        close(scope).await;
    }

    /// The first turn of a subscription: what it wants, or why it cannot be.
    pub(crate) async fn open(&self, request: Request) -> Result<Opened, Response> {
        let cell = Cell::default();
        let said = self.first(request.data(Turn::Opening(cell.clone()))).await;
        match (said, cell.take()) {
            (Some(response), _) if !response.errors.is_empty() => Err(response),
            (_, Some(opened)) => Ok(opened),
            // A field that is left out by a directive: there is nothing to follow.
            (response, None) => Err(response.unwrap_or_default()),
        }
    }

    /// The first answer of a subscription's turn.
    pub(crate) async fn first(&self, request: Request) -> Option<Response> {
        self.schema.execute_stream(request).next().await
    }

    /// Answers one request. All of the answer speaks of one moment, whose cursor is `extensions.head`.
    pub async fn answer(&self, request: Request) -> Answer {
        let scope = self.scope();
        let request_id = scope.request_id.clone();
        let mut response = self.schema.execute(request.data(Asked::new(scope.clone()))).await;
        let mut statements = 0;
        if let Some(snapshot) = scope.peek() {
            statements = snapshot.statements();
            let head = log_cursor(snapshot.head()).map_or(Value::Null, Value::from);
            response.extensions.insert("head".into(), head);
            response.extensions.insert("lag".into(), Value::from(snapshot.lag()));
        }
        close(scope).await;
        Answer { response, request_id, statements }
    }
}

/// Gives the connection back. A look-up that nobody waits for any more may still hold the request; the connection is
/// closed then when it is done.
async fn close(mut scope: Arc<Scope>) {
    for _ in 0..16 {
        match Arc::try_unwrap(scope) {
            Ok(scope) => {
                if let Some(snapshot) = scope.opened()
                    && let Err(error) = snapshot.close().await
                {
                    tracing::warn!(%error, "a connection broke after its request was answered");
                }
                return;
            }
            Err(held) => scope = held,
        }
        tokio::task::yield_now().await;
    }
}
