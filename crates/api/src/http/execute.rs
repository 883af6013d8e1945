//! One operation that has one answer.

use std::time::Duration;

use async_graphql::value;

use super::{record::Ended, server::Shared};
use crate::{
    intake::Ready,
    transport::{
        refused::Refused,
        reply::{self, Outcome},
    },
};

/// An answer, and what it took.
pub(super) struct Executed {
    pub(super) bytes: Vec<u8>,
    pub(super) outcome: Outcome,
    pub(super) request_id: String,
    pub(super) statements: u64,
    /// How long the database took, where that is measured.
    pub(super) sql_time: Option<Duration>,
}

impl Executed {
    /// For the log and the metrics.
    pub(super) fn ended(&self) -> Ended<'_> {
        Ended {
            outcome: self.outcome.as_str(),
            request_id: &self.request_id,
            statements: self.statements,
            sql_time: self.sql_time,
            bytes: self.bytes.len(),
            answers: 1,
        }
    }
}

/// Executes a query. What takes too long is given up, in the database as well: its connection is closed.
pub(super) async fn execute(shared: &Shared, ready: &Ready) -> Result<Executed, Refused> {
    let time = shared.exposure.timeout;
    let answering = shared.graph.answer(ready.request());
    let Ok(mut answer) = tokio::time::timeout(time, answering).await else {
        let message = format!("no answer within {} s: ask for less at once", time.as_secs());
        return Err(Refused::new(504, "TIMEOUT", &message));
    };
    let limits = shared.intake.limits();
    let response = &mut answer.response;
    if ready.wants_cost {
        let cost = value!({ "requested": ready.cost, "limit": limits.complexity });
        response.extensions.insert("cost".into(), cost);
    }
    if shared.exposure.debug {
        let sql = value!({ "statements": answer.statements });
        response.extensions.insert("sql".into(), sql);
    }
    let outcome = Outcome::of(response);
    reply::present(response, outcome);
    let bytes = reply::write(response, outcome, limits.answer_bytes)?;
    Ok(Executed {
        bytes,
        outcome,
        request_id: answer.request_id,
        statements: answer.statements,
        sql_time: None,
    })
}
