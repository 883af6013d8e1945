//! Documents that are known by a hash: sent once by clients, or listed by the operator.

use std::collections::HashMap;

use serde_json::Value;

use super::refused::Refused;
use crate::guard::{Recent, hash};

/// Which documents are executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Persisted {
    /// Any, sent whole.
    Off,
    /// Any; clients may send the hash alone after the first time (automatic persisted queries).
    #[default]
    Apq,
    /// Only those that the operator's list has.
    Only,
}

/// The operator's list of documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    by_id: HashMap<String, String>,
}

impl Trusted {
    /// Reads a list: an object of documents by their ids (SHA-256 by default, or whatever the clients send), or a
    /// manifest as client tools write it, `{"operations": [{"id", "body"}]}`.
    ///
    /// # Errors
    /// A sentence that says what is wrong with the file.
    pub fn read(text: &str) -> Result<Trusted, String> {
        let json: Value = serde_json::from_str(text)
            .map_err(|error| format!("the list of documents is not JSON: {error}"))?;
        let mut by_id = HashMap::new();
        if let Some(operations) = json.get("operations").and_then(Value::as_array) {
            for operation in operations {
                let part = |name| operation.get(name).and_then(Value::as_str).map(str::to_owned);
                let (Some(id), Some(body)) = (part("id"), part("body")) else {
                    return Err("an operation of the list of documents has no id or no body".into());
                };
                by_id.insert(id, body);
            }
        } else if let Some(object) = json.as_object() {
            for (id, body) in object {
                let Some(body) = body.as_str() else {
                    return Err(format!("the document {id} of the list is not a string"));
                };
                by_id.insert(id.clone(), body.to_owned());
            }
        } else {
            return Err("the list of documents must be an object of documents by their ids".into());
        }
        // Those who send the text are served, too.
        let hashed: Vec<_> =
            by_id.values().map(|body| (hex::encode(hash(body)), body.clone())).collect();
        by_id.extend(hashed);
        Ok(Trusted { by_id })
    }
}

/// Documents by hash.
#[derive(Debug)]
pub(crate) struct Documents {
    mode: Persisted,
    trusted: Trusted,
    sent: Recent<String, String>,
}

/// Bytes of documents that clients have sent, at most.
const SENT_BYTES: usize = 4 << 20;

impl Documents {
    pub(crate) fn new(mode: Persisted, trusted: Trusted) -> Documents {
        Documents { mode, trusted, sent: Recent::new(4_096, SENT_BYTES) }
    }

    /// The text that a request means.
    pub(crate) fn find(&self, query: Option<String>, id: Option<&str>) -> Result<String, Refused> {
        match (self.mode, query, id) {
            (Persisted::Only, query, id) => {
                let known = |id: &str| self.trusted.by_id.get(id).cloned();
                let found = match (&query, id) {
                    (Some(text), _) => known(&hex::encode(hash(text))),
                    (None, Some(id)) => known(id),
                    (None, None) => None,
                };
                found.ok_or_else(|| {
                    Refused::new(
                        403,
                        "FORBIDDEN",
                        "this server executes only documents that its operator has listed",
                    )
                })
            }
            (Persisted::Off, None, Some(_)) => {
                Err(graphql("PERSISTED_QUERY_NOT_SUPPORTED", "PersistedQueryNotSupported"))
            }
            (Persisted::Apq, None, Some(id)) => self
                .sent
                .get(&id.to_ascii_lowercase())
                .ok_or_else(|| graphql("PERSISTED_QUERY_NOT_FOUND", "PersistedQueryNotFound")),
            (Persisted::Apq, Some(text), Some(id)) => {
                if !hex::encode(hash(&text)).eq_ignore_ascii_case(id) {
                    return Err(Refused::new(
                        400,
                        "PERSISTED_QUERY_MISMATCH",
                        "sha256Hash is not the hash of the document beside it",
                    ));
                }
                Ok(text)
            }
            (_, Some(text), _) => Ok(text),
            (_, None, None) => Err(Refused::bad("the parameter query is missing")),
        }
    }

    /// Remembers a document that has been found good.
    pub(crate) fn keep(&self, text: &str, id: Option<&str>) {
        if let (Persisted::Apq, Some(id)) = (self.mode, id) {
            self.sent.keep(id.to_ascii_lowercase(), text.to_owned(), text.len() + 64);
        }
    }
}

/// Clients switch on these words, in status 200.
fn graphql(code: &'static str, message: &str) -> Refused {
    Refused { legacy_ok: true, ..Refused::new(400, code, message) }
}
