//! The schema, and how one request is answered from one moment of the database.

use std::sync::Arc;

use async_graphql::{
    EmptyMutation, EmptySubscription, Request, Response, SDLExportOptions, Schema, Value,
};
use chrono::Utc;
use store::Store;

use crate::{
    scope::{Asked, QueueProbe, Scope},
    types::{Query, log_cursor},
};

/// Levels of a query, at most: the longest sensible way through the schema is shorter, and introspection needs 14.
const DEPTH: usize = 20;

type Built = Schema<Query, EmptyMutation, EmptySubscription>;

fn build() -> Built {
    Schema::build(Query, EmptyMutation, EmptySubscription).limit_depth(DEPTH).finish()
}

/// The schema in GraphQL's own language.
#[must_use]
pub fn sdl() -> String {
    let mut sdl =
        build().sdl_with_options(SDLExportOptions::new().prefer_single_line_descriptions());
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
        Graph { schema: build(), store, network: network.into(), queue }
    }

    /// Answers one request. All of the answer speaks of one moment, whose cursor is `extensions.head`.
    pub async fn answer(&self, request: Request) -> Answer {
        let scope = Arc::new(Scope::new(
            self.store.clone(),
            self.network.clone(),
            self.queue.clone(),
            Utc::now(),
        ));
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
