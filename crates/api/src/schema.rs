//! How one request is answered from one snapshot of the database.

mod built;

use std::{sync::Arc, time::Duration};

use async_graphql::{Response, parser::types::OperationType};
use chrono::Utc;
use futures::StreamExt as _;
use serde_json::{Map, json};
use store::Store;

use crate::{
    cursor::{Tag, Tags},
    error::{Code, Trouble},
    exec::{self, Column as _, Halt, Plan, Problem, Run, Writer},
    guard::{Kind, Refusal},
    intake::Ready,
    introspection::{Introspection, Told},
    scope::{QueueProbe, Scope},
    tail::{Asked, Item, Opened},
    transport::reply::{self, Outcome},
    types::{self, Query, log_cursor},
};

pub use built::sdl;
use built::{Built, build};

/// Statements that one request may need. Their number follows from the document alone.
const STATEMENTS: usize = 100;

/// Answers requests. Cloning is cheap.
#[derive(Clone)]
pub(crate) struct Graph {
    schema: Built,
    store: Store,
    tags: Tags,
    network: Arc<str>,
    queue: QueueProbe,
    introspection: Arc<Introspection>,
}

/// An answer, and what it took.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its JSON, without the brace at the end.
    open: Vec<u8>,
    /// What becomes of `extensions`.
    pub(crate) extensions: Map<String, serde_json::Value>,
    /// What it is, besides its bytes.
    pub(crate) outcome: Outcome,
    /// The id under which the log tells more.
    pub(crate) request_id: String,
    /// How many statements were sent to the database.
    pub(crate) statements: u64,
    /// How long the database took.
    pub(crate) sql_time: Duration,
}

impl Answer {
    /// Its JSON.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.open;
        if !self.extensions.is_empty() {
            bytes.extend_from_slice(b",\"extensions\":");
            // A vector takes everything.
            let _ = serde_json::to_writer(&mut bytes, &self.extensions);
        }
        bytes.push(b'}');
        bytes
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("network", &self.network).finish_non_exhaustive()
    }
}

impl Graph {
    /// Answers from this database.
    pub(crate) fn new(store: Store, network: &str, queue: QueueProbe) -> Graph {
        let introspection = Arc::new(Introspection::new());
        let (schema, tags) = (build(true), Tags::default());
        Graph { schema, store, tags, network: network.into(), queue, introspection }
    }

    /// The same, without telling what could be asked.
    pub(crate) fn without_introspection(self) -> Graph {
        Graph { schema: build(false), ..self }
    }

    /// The same, from other connections.
    pub(crate) fn through(&self, store: Store) -> Graph {
        Graph { store, ..self.clone() }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The tag of the database, which cursors carry.
    ///
    /// # Errors
    /// When it was not asked for yet, and the database is away.
    pub(crate) async fn tag(&self) -> store::Result<Tag> {
        self.tags.load(&self.store).await
    }

    /// The same, when it was asked for already.
    pub(crate) fn known_tag(&self) -> Option<Tag> {
        self.tags.known()
    }

    /// What one execution of a plan stands on.
    fn run(&self, ready: &Ready, plan: Arc<Plan>) -> Run {
        let scope = Scope::new(
            self.store.clone(),
            self.tags.clone(),
            self.network.clone(),
            self.queue.clone(),
            Utc::now(),
            plan.statements,
        );
        Run::new(scope, plan, ready.variables.clone())
    }

    /// Has async-graphql look at a request: what it says against it.
    async fn look(&self, ready: &Ready) -> Option<Response> {
        match ready.kind {
            OperationType::Subscription => self.schema.execute_stream(ready.request()).next().await,
            _ => Some(self.schema.execute(ready.request()).await),
        }
    }

    /// The plan of a request that is valid, and what the schema says to it.
    async fn plan<T: exec::Object>(
        &self,
        ready: &Ready,
    ) -> Result<(Arc<Plan>, Option<Arc<Told>>), Response> {
        let (plan, told) = match ready.plan() {
            Some(plan) if !plan.introspects => (plan, None),
            _ if ready.introspects() => {
                let told = self.introspection.answer(&self.schema, ready).await?;
                (ready.make_plan::<T>(), Some(told))
            }
            _ => match self.look(ready).await {
                Some(seen) if !seen.errors.is_empty() => return Err(seen),
                _ => (ready.make_plan::<T>(), None),
            },
        };
        if plan.statements > STATEMENTS {
            let message = format!(
                "this query needs {} statements, at most {STATEMENTS} are sent: ask for less at once",
                plan.statements
            );
            let trouble = Trouble::over(Code::QueryTooCostly, message, STATEMENTS, plan.statements);
            return Err(trouble.response());
        }
        Ok((plan, told))
    }

    /// Answers one request, from one snapshot, whose position is `extensions.head`. `extensions.stale` names the tables that
    /// are not complete up to there, when there are any.
    ///
    /// # Errors
    /// When the answer would have more than `limit` bytes.
    pub(crate) async fn answer(&self, ready: &Ready, limit: usize) -> Result<Answer, Refusal> {
        let (plan, told) = match self.plan::<Query>(ready).await {
            Ok(planned) => planned,
            Err(response) => return invalid(response, limit),
        };
        let run = self.run(ready, plan);
        let written = write(&run, told.as_deref(), limit).await;
        if run.scope.is_doubtful()
            && let Some(response) = self.look(ready).await
            && !response.errors.is_empty()
        {
            close(run).await;
            return invalid(response, limit);
        }
        let mut extensions = Map::new();
        let (mut statements, mut sql_time) = (0, Duration::ZERO);
        if let Some(snapshot) = run.scope.peek() {
            (statements, sql_time) = (snapshot.statements(), snapshot.took());
            let head = self.known_tag().and_then(|tag| log_cursor(tag, snapshot.head()));
            extensions.insert("head".into(), json!(head));
            extensions.insert("lag".into(), json!(snapshot.lag()));
            if !snapshot.stale().is_empty() {
                extensions.insert("stale".into(), json!(snapshot.stale()));
            }
        }
        let request_id = run.scope.request_id.clone();
        close(run).await;
        let (mut open, problems) = written?;
        let outcome = if problems.is_empty() { Outcome::Good } else { Outcome::Partial };
        if !problems.is_empty() {
            reply::append_errors(&mut open, problems.iter().map(Problem::to_json));
        }
        Ok(Answer { open, extensions, outcome, request_id, statements, sql_time })
    }

    /// What a subscription wants, or why it cannot be. None where a directive leaves its field out. `last` is the cursor
    /// that a browser sends when it reconnects.
    pub(crate) async fn open(
        &self,
        ready: &Ready,
        last: Option<&str>,
    ) -> Result<Option<Opened>, Response> {
        let (plan, _) = self.plan::<Item>(ready).await?;
        let run = self.run(ready, plan);
        let Asked { wanted, after } = match exec::open::<Item>(&run) {
            None => return Ok(None),
            Some(Ok(asked)) => asked,
            Some(Err(trouble)) => match self.look(ready).await {
                Some(response) if !response.errors.is_empty() => return Err(response),
                _ => return Err(trouble.response()),
            },
        };
        if after.is_none() && last.is_none() {
            return Ok(Some(Opened { wanted, after: None }));
        }
        let tag = run.scope.tag().await.map_err(|trouble| trouble.response())?;
        // A browser that reconnects knows better where it was than its address does.
        let position = match last.and_then(|last| types::position(tag, last).ok()) {
            Some(position) => Ok(Some(position)),
            None => after.map(|cursor| types::position(tag, &cursor)).transpose(),
        };
        let after = position.map_err(|trouble| trouble.response())?;
        Ok(Some(Opened { wanted, after }))
    }

    /// What rows of a subscription say: for each its JSON, or nothing where it would be too large.
    ///
    /// # Errors
    /// When something fails that a later try may find in order.
    pub(crate) async fn tell(
        &self,
        ready: &Ready,
        items: Vec<Item>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, Passing> {
        // It was valid when it was opened.
        let run = self.run(ready, ready.make_plan::<Item>());
        let told = tell(&run, items, limit).await;
        close(run).await;
        told
    }
}

/// Makes an answer: all but the brace at its end, and what went wrong.
async fn write(
    run: &Run,
    about_schema: Option<&Told>,
    limit: usize,
) -> Result<(Vec<u8>, Vec<Problem>), Refusal> {
    let rows = exec::rows(vec![Query], run, &run.plan.root).await;
    let mut to = Writer::new(limit);
    to.out.extend_from_slice(DATA);
    let written = rows.write_with(0, &mut to, |selected, to| {
        let told = about_schema.filter(|_| selected.is_about_schema());
        let told = told.and_then(|told| told.get(&*selected.response));
        to.out.extend_from_slice(told.map_or(&[], Vec::as_slice));
        told.is_some()
    });
    match written {
        Ok(()) => {}
        Err(Halt::Null) => to.nothing(DATA.len()),
        Err(Halt::TooLarge) => return Err(too_large(limit)),
    }
    Ok(to.finish())
}

/// Makes an answer of each row.
async fn tell(run: &Run, items: Vec<Item>, limit: usize) -> Result<Vec<Vec<u8>>, Passing> {
    let number = items.len();
    let rows = exec::rows(items, run, &run.plan.root).await;
    let mut told = Vec::with_capacity(number);
    for nth in 0..number {
        let mut to = Writer::new(limit);
        to.out.extend_from_slice(DATA);
        let written = rows.write(nth, &mut to);
        if written.is_err() {
            to.nothing(DATA.len());
        }
        let (mut bytes, problems) = to.finish();
        if problems.iter().any(|problem| problem.trouble().code.is_passing()) {
            return Err(Passing);
        }
        let mut errors: Vec<_> = problems.iter().map(Problem::to_json).collect();
        if written == Err(Halt::TooLarge) {
            errors = vec![too_large(limit).to_json()];
        }
        if !errors.is_empty() {
            reply::append_errors(&mut bytes, errors.into_iter());
        }
        bytes.push(b'}');
        told.push(bytes);
    }
    Ok(told)
}

/// How every answer begins.
const DATA: &[u8] = b"{\"data\":";

fn too_large(limit: usize) -> Refusal {
    Refusal::over(Kind::AnswerBytes, limit, limit.saturating_add(1))
}

/// The database was away, or a table is stale: the answers would lack what a later try has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passing;

/// A request that is not executed, as async-graphql says it.
fn invalid(mut response: Response, limit: usize) -> Result<Answer, Refusal> {
    let outcome = Outcome::of(&response);
    reply::present(&mut response, outcome);
    let mut open = reply::write(&response, outcome, limit)?;
    open.pop();
    Ok(Answer {
        open,
        extensions: Map::new(),
        outcome,
        request_id: uuid::Uuid::new_v4().simple().to_string(),
        statements: 0,
        sql_time: Duration::ZERO,
    })
}

/// Gives the connection back. The end of a transaction keeps no answer waiting.
async fn close(run: Run) {
    let is_one_statement = run.plan.statements <= 1;
    let Some(snapshot) = run.scope.opened() else { return };
    let closing = async move {
        if let Err(error) = snapshot.close().await {
            tracing::warn!(%error, "a connection broke after its request was answered");
        }
    };
    if is_one_statement {
        closing.await;
    } else {
        tokio::spawn(closing);
    }
}
