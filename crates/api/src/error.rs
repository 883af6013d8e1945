//! What a caller is told when something is wrong: a sentence, and a code that programs can rely on.

use async_graphql::{ErrorExtensionValues, Response, ServerError};

use crate::guard::Count;

/// `extensions.code` of errors. The words are part of the contract; the sentences beside them are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// An argument cannot be: the caller must change it.
    BadUserInput,
    /// A page cursor is broken, or was made by another list, order or filter.
    BadCursor,
    /// The answer would be larger than allowed: ask for less at once.
    AnswerTooLarge,
    /// The query would need more work than allowed: nest fewer lists.
    QueryTooCostly,
    /// A row is missing because its table is stale, which `extensions.stale` names: try again later.
    Rebuilding,
    /// The database is away or busy: try again.
    Unavailable,
    /// A fault of the server. The request id leads an operator to the cause.
    Internal,
}

impl Code {
    /// May a later try find it in order?
    pub(crate) fn is_passing(self) -> bool {
        matches!(self, Code::Rebuilding | Code::Unavailable | Code::Internal)
    }

    /// The word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Code::BadUserInput => "BAD_USER_INPUT",
            Code::BadCursor => "BAD_CURSOR",
            Code::AnswerTooLarge => "ANSWER_TOO_LARGE",
            Code::QueryTooCostly => "QUERY_TOO_COSTLY",
            Code::Rebuilding => "REBUILDING",
            Code::Unavailable => "UNAVAILABLE",
            Code::Internal => "INTERNAL",
        }
    }
}

/// Something that a caller must be told. It never carries SQL, paths or what the database said.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) code: Code,
    pub(crate) message: String,
    pub(crate) request_id: Option<String>,
    /// What is allowed, and what was asked for.
    pub(crate) over: Option<(u64, u64)>,
}

impl Trouble {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Trouble {
        Trouble { code, message: message.into(), request_id: None, over: None }
    }

    /// More than a limit allows; the message says what to do.
    pub(crate) fn over(
        code: Code,
        message: impl Into<String>,
        limit: impl Count,
        actual: impl Count,
    ) -> Trouble {
        let over = Some((limit.count(), actual.count()));
        Trouble { over, ..Trouble::new(code, message) }
    }

    /// A row is missing that another row refers to. Both are written together, unless the projection of one is stale.
    pub(crate) fn rebuilding(what: &str) -> Trouble {
        Trouble::new(Code::Rebuilding, format!("the {what} are not complete: try again later"))
    }

    /// The same, as async-graphql would say it.
    pub(crate) fn response(&self) -> Response {
        let mut error = ServerError::new(self.message.clone(), None);
        let mut extensions = ErrorExtensionValues::default();
        extensions.set("code", self.code.as_str());
        if let Some((limit, actual)) = self.over {
            extensions.set("limit", limit);
            extensions.set("actual", actual);
        }
        error.extensions = Some(extensions);
        Response::from_errors(vec![error])
    }

    pub(crate) fn input(message: impl Into<String>) -> Trouble {
        Trouble::new(Code::BadUserInput, message)
    }
}
