//! An answer as it leaves: errors made presentable, bytes counted while they are written.

use std::io::{self, Write};

use async_graphql::{ErrorExtensionValues, Response, Value};

use crate::guard::{Kind, Refusal};

/// Errors of an answer, at most.
const ERRORS: usize = 10;
/// Bytes of an error's message, at most.
const MESSAGE: usize = 300;
/// Characters of a word in it, at most: no name of the schema is longer, so a longer word was said by the caller.
const WORD: usize = 36;

/// What an answer is, besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything is there.
    Good,
    /// Parts are missing, and the errors say why.
    Partial,
    /// It was not executed: the document does not fit the schema, or the variables do not fit the document.
    Invalid,
}

impl Outcome {
    /// The word for log and metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Outcome::Good => "ok",
            Outcome::Partial => "error",
            Outcome::Invalid => "invalid",
        }
    }

    /// Tells what became of a request.
    pub(crate) fn of(response: &Response) -> Outcome {
        if response.errors.is_empty() {
            return Outcome::Good;
        }
        // What fails while fields are resolved has a path; what is found wrong before has none.
        let before = response.errors.iter().all(|error| error.path.is_empty());
        if response.data == Value::Null && before { Outcome::Invalid } else { Outcome::Partial }
    }
}

/// Gives every error a code, and bounds what is repeated of the request.
pub(crate) fn present(response: &mut Response, outcome: Outcome) {
    response.errors.truncate(ERRORS);
    let code = match outcome {
        Outcome::Invalid => Kind::Invalid.code(),
        // Our own failures have a code; those without are arguments that could not be read.
        _ => "BAD_USER_INPUT",
    };
    for error in &mut response.errors {
        error.message = bounded(&error.message);
        let extensions = error.extensions.get_or_insert_with(ErrorExtensionValues::default);
        if extensions.get("code").is_none() {
            extensions.set("code", code);
        }
    }
}

/// A message without long words, and cut where it is too long.
pub(crate) fn bounded(message: &str) -> String {
    let mut bounded = String::new();
    for word in message.split_inclusive(char::is_whitespace) {
        let room = MESSAGE.saturating_sub(bounded.len());
        match word.char_indices().nth(WORD) {
            None if word.len() <= room => bounded.push_str(word),
            Some((end, _)) if end < room => {
                bounded.push_str(&word[..end]);
                bounded.push_str("… ");
            }
            _ => {
                bounded.push('…');
                break;
            }
        }
    }
    bounded.trim_end().to_owned()
}

/// Adds what went wrong to an answer that is being written.
pub(crate) fn append_errors(open: &mut Vec<u8>, errors: impl Iterator<Item = serde_json::Value>) {
    open.extend_from_slice(b",\"errors\":");
    // A vector takes everything.
    let _ = serde_json::to_writer(open, &errors.collect::<Vec<_>>());
}

/// Writes up to a limit.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of an answer. One that was not executed has no `data`.
pub(crate) fn write(
    response: &Response,
    outcome: Outcome,
    limit: usize,
) -> Result<Vec<u8>, Refusal> {
    #[derive(serde::Serialize)]
    struct Errors<'a> {
        errors: &'a [async_graphql::ServerError],
    }
    let mut to = Bounded { bytes: Vec::with_capacity(1 << 10), limit };
    let written = match outcome {
        Outcome::Invalid => serde_json::to_writer(&mut to, &Errors { errors: &response.errors }),
        _ => serde_json::to_writer(&mut to, response),
    };
    match written {
        Ok(()) => Ok(to.bytes),
        Err(_) => Err(Refusal::over(Kind::AnswerBytes, limit, limit.saturating_add(1))),
    }
}
