//! One operation that has one answer.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{record::Ended, server::Shared};
use crate::{
    intake::Ready,
    transport::{refused::Refused, reply::Outcome},
};

/// An answer, and what it took.
pub(super) struct Executed {
    pub(super) bytes: Vec<u8>,
    pub(super) outcome: Outcome,
    pub(super) request_id: String,
    pub(super) statements: u64,
    /// How long the database took.
    pub(super) sql_time: Duration,
}

impl Executed {
    /// For the log and the metrics.
    pub(super) fn ended(&self) -> Ended<'_> {
        Ended {
            outcome: self.outcome.as_str(),
            request_id: &self.request_id,
            statements: self.statements,
            sql_time: Some(self.sql_time),
            bytes: self.bytes.len(),
            answers: 1,
            ..Ended::default()
        }
    }
}

/// Executes a query. What takes too long is given up, in the database as well: its connection is closed.
pub(super) async fn execute(shared: &Shared, ready: &Ready) -> Result<Executed, Refused> {
    let time = shared.exposure.timeout;
    let limits = shared.intake.limits();
    let began = Instant::now();
    let answering = shared.near.answer(ready, limits.answer_bytes);
    let Ok(answer) = tokio::time::timeout(time, answering).await else {
        let message = format!("no answer within {time:?}: ask for less at once");
        return Err(Refused::late(&message, time, began.elapsed()));
    };
    let mut answer = answer?;
    if ready.wants_cost {
        let cost = json!({ "requested": ready.cost, "limit": limits.complexity });
        answer.extensions.insert("cost".into(), cost);
    }
    if shared.exposure.debug {
        let milliseconds = answer.sql_time.as_secs_f64() * 1e3;
        let sql = json!({ "statements": answer.statements, "milliseconds": milliseconds });
        answer.extensions.insert("sql".into(), sql);
    }
    let (outcome, statements) = (answer.outcome, answer.statements);
    let sql_time = answer.sql_time;
    let request_id = std::mem::take(&mut answer.request_id);
    Ok(Executed { bytes: answer.into_bytes(), outcome, request_id, statements, sql_time })
}
