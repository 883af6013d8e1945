//! Queries that get their answer in the end: within the node's budget, with smaller pages when answers are too large, and
//! again while the node is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use crate::back_off::BackOff;
use crate::budget::Budget;
use crate::source::message_api::{Answer, Node, PAGE_ROWS, Question};
use crate::source::{NodeError, Trouble};

/// A node and our patience with it.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    node: Node,
    budget: Budget,
    /// Left to more urgent callers.
    reserve: u32,
    requests: Arc<AtomicU64>,
}

impl Asker {
    pub(crate) fn new(node: Node, budget: Budget, reserve: u32) -> Self {
        Self { node, budget, reserve, requests: Arc::default() }
    }

    /// Requests made so far, answered or not.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// The answer, however long it takes; `None` when cancelled.
    ///
    /// # Errors
    /// When the node will never answer this.
    pub(crate) async fn ask(
        &self,
        mut question: Question,
        token: &CancellationToken,
    ) -> Result<Option<Answer>, NodeError> {
        let mut back_off = BackOff::for_nodes();
        question.rows = PAGE_ROWS;
        loop {
            if !self.budget.spend_above(1, self.reserve, token).await {
                return Ok(None);
            }
            self.requests.fetch_add(1, Ordering::Relaxed);
            metrics::counter!("xmtp_indexer_node_queries_total").increment(1);
            let asked = tokio::select! {
                () = token.cancelled() => return Ok(None),
                asked = self.node.query(question.clone()) => asked,
            };
            let error = match asked {
                Ok(answer) => return Ok(Some(answer)),
                Err(error) => error,
            };
            match error.trouble {
                Trouble::Exhausted => {
                    tracing::warn!(%error, "no requests to this node for a minute");
                    self.budget.refused();
                }
                Trouble::TooLarge if question.rows > 1 => question.rows /= 2,
                Trouble::TooLarge | Trouble::Refused => return Err(error),
                Trouble::Away => {
                    let wait = back_off.next();
                    tracing::warn!(%error, retry_in = ?wait, "asking the node again");
                    tokio::select! {
                        () = token.cancelled() => return Ok(None),
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }
}
