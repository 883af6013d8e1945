//! How much a request may ask for, and what is said to one that asks for more.

use serde_json::{Value, json};

/// What one request may ask for. Everything is counted before anything is executed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of a request's body, or of a frame.
    pub body_bytes: usize,
    /// Bytes of a document.
    pub document_bytes: usize,
    /// Words and signs of a document.
    pub tokens: usize,
    /// Brackets inside of brackets, of whatever kind.
    pub nesting: usize,
    /// Operations of a document.
    pub operations: usize,
    /// Fields inside of fields.
    pub depth: usize,
    /// The same below `__schema` and `__type`: the query that tools send needs 15.
    pub introspection_depth: usize,
    /// Fields, spreads and inline fragments once all fragments are expanded.
    pub nodes: u64,
    /// Aliases once all fragments are expanded.
    pub aliases: u64,
    /// Directives once all fragments are expanded.
    pub directives: u64,
    /// Fields of the root type.
    pub root_fields: u64,
    /// What the answer may cost: see the module.
    pub complexity: u64,
    /// Members of a list given as input.
    pub list_items: usize,
    /// Values given as input, all together.
    pub input_values: usize,
    /// Lists and objects inside of one another, given as input.
    pub input_depth: usize,
    /// Bytes of an answer.
    pub answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            body_bytes: 64 << 10,
            document_bytes: 16 << 10,
            tokens: 2_000,
            nesting: 32,
            operations: 10,
            depth: 12,
            introspection_depth: 20,
            nodes: 2_000,
            aliases: 30,
            directives: 40,
            root_fields: 20,
            complexity: 50_000,
            list_items: 1_000,
            input_values: 5_000,
            input_depth: 16,
            answer_bytes: 32 << 20,
        }
    }
}

/// What was too much, or wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    DocumentBytes,
    Tokens,
    Nesting,
    Operations,
    Depth,
    Nodes,
    Aliases,
    Directives,
    RootFields,
    Complexity,
    ListItems,
    InputValues,
    InputDepth,
    AnswerBytes,
    Syntax,
    Invalid,
}

impl Kind {
    /// The code that programs can rely on.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Kind::DocumentBytes => "DOCUMENT_TOO_LARGE",
            Kind::Tokens => "TOO_MANY_TOKENS",
            Kind::Nesting | Kind::Depth => "QUERY_TOO_DEEP",
            Kind::Operations => "TOO_MANY_OPERATIONS",
            Kind::Nodes | Kind::Complexity => "QUERY_TOO_COMPLEX",
            Kind::Aliases => "TOO_MANY_ALIASES",
            Kind::Directives => "TOO_MANY_DIRECTIVES",
            Kind::RootFields => "TOO_MANY_ROOT_FIELDS",
            Kind::ListItems | Kind::InputValues | Kind::InputDepth => "INPUT_TOO_LARGE",
            Kind::AnswerBytes => "ANSWER_TOO_LARGE",
            Kind::Syntax => "GRAPHQL_PARSE_FAILED",
            Kind::Invalid => "GRAPHQL_VALIDATION_FAILED",
        }
    }

    fn says(self) -> &'static str {
        match self {
            Kind::DocumentBytes => "the document has too many bytes: send a smaller one",
            Kind::Tokens => "the document has too many words and signs: send a smaller one",
            Kind::Nesting => "the document has too many brackets inside of brackets",
            Kind::Operations => "the document has too many operations: send them one by one",
            Kind::Depth => "the query goes too deep: ask for less at once",
            Kind::Nodes => "the query has too many fields: ask for less at once",
            Kind::Aliases => "the query has too many aliases: ask with list arguments instead",
            Kind::Directives => "the query has too many directives",
            Kind::RootFields => "the query has too many root fields: ask in several requests",
            Kind::Complexity => "the query costs too much: ask for smaller pages or fewer fields",
            Kind::ListItems => "a list given as input has too many members",
            Kind::InputValues => "the variables have too many values",
            Kind::InputDepth => "the variables go too deep",
            Kind::AnswerBytes => "the answer is too large: ask for smaller pages or fewer fields",
            Kind::Syntax | Kind::Invalid => "the document is wrong",
        }
    }
}

/// Why a request is not executed. Nothing of the request is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    message: &'static str,
    /// What is allowed, and what was asked for.
    pub(crate) over: Option<(u64, u64)>,
    place: Option<(usize, usize)>,
}

impl Refusal {
    pub(crate) fn over(kind: Kind, limit: impl Count, actual: impl Count) -> Refusal {
        let over = Some((limit.count(), actual.count()));
        Refusal { kind, message: kind.says(), over, place: None }
    }

    pub(crate) fn syntax(message: &'static str, place: Option<(usize, usize)>) -> Refusal {
        Refusal { kind: Kind::Syntax, message, over: None, place }
    }

    /// The message is this program's own: a caller's words have no other lifetime than their request's.
    pub(crate) fn invalid(message: &'static str) -> Refusal {
        Refusal { kind: Kind::Invalid, message, over: None, place: None }
    }

    /// As a GraphQL error.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = json!({
            "message": self.message,
            "extensions": { "code": self.kind.code() },
        });
        if let Some((limit, actual)) = self.over {
            error["extensions"]["limit"] = json!(limit);
            error["extensions"]["actual"] = json!(actual);
        }
        if let Some((line, column)) = self.place {
            error["locations"] = json!([{ "line": line, "column": column }]);
        }
        error
    }
}

/// Numbers that limits are counted in.
pub(crate) trait Count {
    fn count(self) -> u64;
}

impl Count for u64 {
    fn count(self) -> u64 {
        self
    }
}

impl Count for usize {
    fn count(self) -> u64 {
        u64::try_from(self).unwrap_or(u64::MAX)
    }
}
