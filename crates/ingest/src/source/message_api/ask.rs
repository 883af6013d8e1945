//! Queries that are retried until they are answered: within the node's budget, with smaller pages when answers are too large, from
//! another node of the source or again later while a node cannot be reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;
use wire::Address;

use super::node::{Answer, Node, PAGE_ROWS, Question};
use crate::back_off::BackOff;
use crate::budget::Budget;
use crate::error::Result;
use crate::source::{Cause, NodeError};

/// How often a query that makes the node fail is repeated.
const TRIES: u32 = 3;

/// The nodes of a source: one is queried until it cannot be reached, then the next one.
#[derive(Clone, Debug)]
pub(crate) struct Nodes {
    nodes: Arc<[Node]>,
    current: Arc<AtomicUsize>,
}

impl Nodes {
    /// Reads the addresses. It does not connect yet.
    pub(crate) fn at(urls: &[String]) -> Result<Nodes> {
        let nodes = urls.iter().map(|url| Node::at(url)).collect::<Result<Vec<_>>>()?;
        if nodes.is_empty() {
            return Err(crate::Error::NodeAddress(String::new()));
        }
        Ok(Nodes { nodes: nodes.into(), current: Arc::default() })
    }

    pub(crate) fn current(&self) -> &Node {
        let at = self.current.load(Ordering::Relaxed) % self.nodes.len();
        // The list is not empty, see `at`.
        &self.nodes[at]
    }

    /// Switches to the next node, if this one failed and no other caller has switched already.
    pub(crate) fn leave(&self, url: &str) {
        if self.nodes.len() > 1 && self.current().url() == url {
            self.current.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Queries the nodes of a source.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    nodes: Nodes,
    budget: Budget,
    /// Requests that are left to more urgent callers.
    reserve: u32,
    requests: Arc<AtomicU64>,
}

impl Asker {
    pub(crate) fn new(nodes: Nodes, budget: Budget, reserve: u32) -> Self {
        Self { nodes, budget, reserve, requests: Arc::default() }
    }

    /// Requests made so far, answered or not.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The answer, however long it takes; `None` when cancelled.
    ///
    /// # Errors
    /// When the node does not answer this query, but does answer others: [`Cause::Refused`], [`Cause::TooLarge`] for a
    /// single row, or [`Cause::Failed`].
    pub(crate) async fn ask(
        &self,
        mut question: Question,
        stop: &CancellationToken,
    ) -> Result<Option<Answer>, NodeError> {
        let mut back_off = BackOff::for_nodes();
        let mut failures = 0;
        question.rows = if question.rows == 0 { PAGE_ROWS } else { question.rows };
        loop {
            let Some(asked) = self.try_once(question.clone(), stop).await else { return Ok(None) };
            let error = match asked {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => error,
            };
            match error.cause {
                Cause::Exhausted => {
                    tracing::warn!(%error, "no requests to this node for a minute");
                    self.budget.refused();
                    continue;
                }
                Cause::TooLarge if question.rows > 1 => {
                    question.rows /= 2;
                    continue;
                }
                Cause::TooLarge | Cause::Refused => failures = TRIES,
                Cause::Failed | Cause::Unreachable => failures += 1,
            }
            // Is it this question? A node, or what stands in front of it, that does not answer a harmless one either is in
            // trouble itself.
            if failures >= TRIES {
                match self.try_once(harmless(), stop).await {
                    None => return Ok(None),
                    Some(Ok(_)) => return Err(error),
                    Some(Err(_)) => {}
                }
            }
            if error.cause != Cause::Failed || failures >= TRIES {
                self.nodes.leave(&error.url);
            }
            let wait = back_off.next();
            tracing::warn!(%error, retry_in = ?wait, "asking the node again");
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn try_once(
        &self,
        question: Question,
        stop: &CancellationToken,
    ) -> Option<Result<Answer, NodeError>> {
        if !self.budget.spend_above(1, self.reserve, stop).await {
            return None;
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("xmtp_indexer_node_queries_total").increment(1);
        tokio::select! {
            () = stop.cancelled() => None,
            asked = self.nodes.current().query(question) => Some(asked),
        }
    }
}

/// A query that every node of this kind answers: one row of the bundles of the wallet 0x0.
fn harmless() -> Question {
    let topics = vec![wire::topic::name::contact(Address::from([0; 20]))];
    Question { topics, rows: 1, ..Question::default() }
}
