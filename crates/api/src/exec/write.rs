//! The bytes of an answer while it is written, and what went wrong in it.

use async_graphql::Pos;
use serde_json::{Value, json};

use crate::error::Trouble;

/// Errors that an answer tells, at most.
const ERRORS: usize = 10;

/// Why a value was not written to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    /// There is none. Who may be null in its place is; the reason stands among the errors.
    Null,
    /// The answer is larger than allowed.
    TooLarge,
}

/// A step of the way to a value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step<'a> {
    /// The key of an object.
    Key(&'a str),
    /// The place in a list.
    Nth(usize),
}

/// An error, and where in the answer.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    trouble: Trouble,
    path: Vec<Value>,
    pos: Pos,
}

impl Problem {
    pub(crate) fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// As GraphQL spells it.
    pub(crate) fn to_json(&self) -> Value {
        let mut extensions = json!({ "code": self.trouble.code.as_str() });
        if let Some(id) = &self.trouble.request_id {
            extensions["requestId"] = json!(id);
        }
        if let Some((limit, actual)) = self.trouble.over {
            extensions["limit"] = json!(limit);
            extensions["actual"] = json!(actual);
        }
        json!({
            "message": self.trouble.message,
            "locations": [{ "line": self.pos.line, "column": self.pos.column }],
            "path": self.path,
            "extensions": extensions,
        })
    }
}

/// Takes an answer's values.
pub(crate) struct Writer<'a> {
    pub(crate) out: Vec<u8>,
    limit: usize,
    pub(super) path: Vec<Step<'a>>,
    /// Where in the document the field stands that is being written.
    pub(super) pos: Pos,
    problems: Vec<Problem>,
}

impl<'a> Writer<'a> {
    /// One that takes so many bytes.
    pub(crate) fn new(limit: usize) -> Writer<'a> {
        Writer {
            out: Vec::with_capacity(1 << 10),
            limit,
            path: Vec::new(),
            pos: Pos::default(),
            problems: Vec::new(),
        }
    }

    /// Notes why there is no value here.
    pub(crate) fn fail(&mut self, trouble: &Trouble) -> Halt {
        if self.problems.len() < ERRORS {
            let path = self.path.iter().map(|step| match step {
                Step::Key(key) => json!(key),
                Step::Nth(nth) => json!(nth),
            });
            let path = path.collect();
            self.problems.push(Problem { trouble: trouble.clone(), path, pos: self.pos });
        }
        Halt::Null
    }

    /// Is there room for more?
    pub(super) fn check(&self) -> Result<(), Halt> {
        if self.out.len() > self.limit { Err(Halt::TooLarge) } else { Ok(()) }
    }

    /// Writes a value at the end of a step. Where there is none, and nothing is allowed, that is what is written.
    pub(super) fn place(
        &mut self,
        step: Step<'a>,
        nullable: bool,
        write: impl FnOnce(&mut Self) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let begins = self.out.len();
        self.path.push(step);
        let written = write(self);
        self.path.pop();
        match written {
            Err(Halt::Null) if nullable => {
                self.nothing(begins);
                Ok(())
            }
            written => written,
        }
    }

    /// Nothing becomes of what was written since then.
    pub(crate) fn nothing(&mut self, since: usize) {
        self.out.truncate(since);
        self.out.extend_from_slice(b"null");
    }

    /// What was written, and what went wrong.
    pub(crate) fn finish(self) -> (Vec<u8>, Vec<Problem>) {
        (self.out, self.problems)
    }
}
