//! What the log and the metrics say about a request: one line, without a word of what was asked or answered.

use std::{
    rc::Rc,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use async_graphql::parser::types::OperationType;

use super::{access::Caller, keyring::Holder};
use crate::{intake::Ready, transport::refused::Refused};

/// A request that is under way.
pub(super) struct Record {
    began: Instant,
    transport: &'static str,
    key: OnceLock<Arc<Holder>>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ended<'a> {
    /// `ok`, or why not: the code of a refusal, or what an answer is besides its errors.
    pub(super) outcome: &'static str,
    /// Of HTTP, where the answer has one of its own.
    pub(super) status: Option<u16>,
    pub(super) request_id: &'a str,
    pub(super) statements: u64,
    /// How long the database took, where that was measured.
    pub(super) sql_time: Option<Duration>,
    pub(super) bytes: usize,
    /// Answers, of a subscription.
    pub(super) answers: u64,
}

impl Ended<'_> {
    fn with(outcome: &'static str) -> Ended<'static> {
        Ended { outcome, ..Ended::default() }
    }

    /// Given up while it was executed.
    pub(super) fn given_up(refused: &Refused) -> Ended<'static> {
        Ended::with(refused.code)
    }
}

/// The log's entry about an operation that is under way. Written when this goes, if it was not before: what nobody waits
/// for any more is not forgotten.
pub(super) struct Entry {
    record: Rc<Record>,
    pub(super) ready: Ready,
    /// What is written when nothing else is said: of a subscription, how far it is.
    pub(super) told: Ended<'static>,
    written: bool,
}

impl Entry {
    pub(super) fn new(record: Rc<Record>, ready: Ready) -> Entry {
        // A subscription has no end but its reader's; who asks once and goes has not got what he wanted.
        let told = match ready.kind {
            OperationType::Subscription => Ended::with("ok"),
            _ => Ended::with("CANCELLED"),
        };
        Entry { record, ready, told, written: false }
    }

    /// It was answered, or it ended.
    pub(super) fn ended(&mut self, ended: Ended<'_>) {
        self.written = true;
        self.record.ended(&self.ready, ended);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.written {
            self.ended(self.told);
        }
    }
}

impl Record {
    pub(super) fn begin(transport: &'static str) -> Record {
        Record { began: Instant::now(), transport, key: OnceLock::new() }
    }

    /// Notes whose request it is.
    pub(super) fn by(&self, caller: &Caller) {
        if let Some(holder) = caller.key() {
            self.key.get_or_init(|| holder.clone());
        }
    }

    fn key(&self) -> Option<&str> {
        self.key.get().map(|holder| holder.name())
    }

    /// It never became an operation. `status` is what was sent, where the refusal has one of its own.
    pub(super) fn refused(&self, refused: &Refused, status: Option<u16>) {
        self.count("none", refused.code);
        tracing::info!(
            target: "api::request",
            transport = self.transport,
            key = self.key(),
            outcome = refused.code,
            status,
            milliseconds = self.milliseconds(),
            "refused"
        );
    }

    fn ended(&self, ready: &Ready, ended: Ended<'_>) {
        let kind = ready.kind();
        let code = match ended.outcome {
            "invalid" | "slow" => "error",
            code => code,
        };
        self.count(kind, code);
        if ready.kind != OperationType::Subscription {
            let seconds = self.began.elapsed().as_secs_f64();
            metrics::histogram!("xmtp_indexer_graphql_duration_seconds", "operation_type" => kind)
                .record(seconds);
        }
        #[expect(clippy::cast_precision_loss, reason = "costs are small")]
        metrics::histogram!("xmtp_indexer_graphql_complexity").record(ready.cost as f64);
        tracing::info!(
            target: "api::request",
            transport = self.transport,
            key = self.key(),
            kind,
            operation = ready.name(),
            document = ready.hash(),
            request = ended.request_id,
            outcome = ended.outcome,
            status = ended.status,
            milliseconds = self.milliseconds(),
            statements = ended.statements,
            sql_milliseconds = ended.sql_time.map(|time| time.as_secs_f64() * 1e3),
            cost = ready.cost,
            bytes = ended.bytes,
            answers = ended.answers,
            "request"
        );
    }

    fn milliseconds(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * 1e3
    }

    fn count(&self, kind: &'static str, code: &'static str) {
        metrics::counter!(
            "xmtp_indexer_graphql_requests_total",
            "operation_type" => kind, "transport" => self.transport, "code" => code
        )
        .increment(1);
    }
}
