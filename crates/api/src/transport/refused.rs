//! Why a request got no answer from the schema: a status, a code that programs can rely on, a sentence.

use std::time::Duration;

use serde_json::{Value, json};

use super::media::Media;
use crate::guard::{Kind, Refusal};

/// A request that is not executed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Refused {
    /// Of HTTP, for callers that go by it.
    pub(crate) status: u16,
    /// Older clients expect 200 where the request was understood, and is wrong only as GraphQL.
    pub(crate) legacy_ok: bool,
    /// The errors, as GraphQL spells them.
    pub(crate) errors: Value,
    /// Seconds until it makes sense to try again.
    pub(crate) retry_after: Option<u64>,
    /// The word for the log.
    pub(crate) code: &'static str,
}

impl Refused {
    pub(crate) fn new(status: u16, code: &'static str, message: &str) -> Refused {
        let errors = json!([{ "message": message, "extensions": { "code": code } }]);
        Refused { status, legacy_ok: false, errors, retry_after: None, code }
    }

    pub(crate) fn bad(message: &str) -> Refused {
        Refused::new(400, "BAD_REQUEST", message)
    }

    /// `actual` is what is known of it: of a body that comes in chunks, what has come.
    pub(crate) fn too_large(limit: usize, actual: usize) -> Refused {
        let message = format!("a request has at most {limit} bytes");
        Refused::new(413, "BODY_TOO_LARGE", &message).over(limit, actual)
    }

    /// The same, with what is allowed and what was asked for.
    pub(crate) fn over(mut self, limit: usize, actual: usize) -> Refused {
        self.errors[0]["extensions"]["limit"] = json!(limit);
        self.errors[0]["extensions"]["actual"] = json!(actual);
        self
    }

    /// Given up after a time: what is allowed and what it took, both in milliseconds.
    pub(crate) fn late(message: &str, limit: Duration, took: Duration) -> Refused {
        let milliseconds = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
        let refused = Refused::new(504, "TIMEOUT", message);
        refused.over(milliseconds(limit), milliseconds(took))
    }

    pub(crate) fn busy(seconds: u64) -> Refused {
        let message = format!("too many requests: try again in {seconds} s");
        let mut refused = Refused::new(429, "RATE_LIMITED", &message);
        refused.errors[0]["extensions"]["retryAfterMs"] = json!(seconds.saturating_mul(1_000));
        refused.retry_after = Some(seconds);
        refused
    }

    /// The sentence.
    pub(crate) fn message(&self) -> &str {
        self.errors[0]["message"].as_str().unwrap_or_default()
    }

    /// The status for callers of this form of answers.
    pub(crate) fn status(&self, media: Media) -> u16 {
        if self.legacy_ok && media != Media::Response { 200 } else { self.status }
    }

    pub(crate) fn body(&self) -> String {
        json!({ "errors": self.errors }).to_string()
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Refused {
        Refused {
            status: 400,
            // The two that a GraphQL server always had; limits are told by the status as well.
            legacy_ok: matches!(refusal.kind, Kind::Syntax | Kind::Invalid),
            code: refusal.kind.code(),
            errors: json!([refusal.to_json()]),
            retry_after: None,
        }
    }
}
