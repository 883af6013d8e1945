//! What a document may cost, decided before anything executes it.
//!
//! The libraries below expand fragments wherever they are spread, so that a few hundred bytes can keep a core busy for
//! minutes before any of their own limits speaks. Here a document is read once by a lexer that cannot recurse, parsed,
//! and measured with every fragment visited once. Whoever passes may be validated and executed without surprise.
//!
//! # What things cost
//!
//! One unit is one field of the answer, about a microsecond of this server. A page of a list costs 50 for its
//! statement, and its `edges` and `nodes` multiply what is below them by the size of the page: `first` or `last`, or
//! the default of 50. Lists without pages count as their longest list argument, or as 5 where they have none. A
//! total count costs 200. Introspection is answered from memory and counts half, its lists by the size of this
//! very schema.

mod cache;
mod cost;
mod input;
mod lexer;
mod limits;
mod listings;
mod shape;
mod walk;

#[cfg(test)]
mod tests;

pub(crate) use cache::Recent;
pub use limits::Limits;
pub(crate) use limits::{Count, Kind, Refusal};
pub use listings::Listings;
pub(crate) use listings::{Rule, find as find_listing};
pub(crate) use shape::Shape;

use async_graphql::parser::{
    self,
    types::{DocumentOperations, ExecutableDocument, OperationDefinition, OperationType},
};
use sha2::{Digest as _, Sha256};

/// A document that may be executed, as far as it can be told without variables.
#[derive(Debug)]
pub(crate) struct Document {
    /// As parsed. Whoever executes it takes a copy.
    pub(crate) parsed: ExecutableDocument,
    /// SHA-256 of the text.
    pub(crate) hash: [u8; 32],
    /// Bytes of the text.
    pub(crate) bytes: usize,
    /// What its operations ask for.
    pub(crate) asks: walk::Asks,
}

/// SHA-256 of a document's text: how persisted documents and the log name it.
pub(crate) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

impl Document {
    /// Reads a document. Takes time in proportion to its length, whatever it holds.
    pub(crate) fn read(text: &str, limits: &Limits) -> Result<Document, Refusal> {
        lexer::scan(text, limits)?;
        let parsed = parser::parse_query(text).map_err(|error| unreadable(&error))?;
        let asks = walk::measure(&parsed, limits)?;
        Ok(Document { parsed, hash: hash(text), bytes: text.len(), asks })
    }

    /// The operation that is meant.
    pub(crate) fn operation(&self, name: Option<&str>) -> Result<&OperationDefinition, Refusal> {
        let invalid = Refusal::invalid;
        match (&self.parsed.operations, name) {
            (DocumentOperations::Single(operation), None) => Ok(&operation.node),
            (DocumentOperations::Single(_), Some(_)) => {
                Err(invalid("the document has no operation of this name"))
            }
            (DocumentOperations::Multiple(all), Some(name)) => all
                .get(name)
                .map(|operation| &operation.node)
                .ok_or_else(|| invalid("the document has no operation of this name")),
            (DocumentOperations::Multiple(all), None) => match all.values().next() {
                Some(only) if all.len() == 1 => Ok(&only.node),
                _ => Err(invalid(
                    "the document has several operations: operationName must say which",
                )),
            },
        }
    }

    /// What an operation costs with these variables; refused when it is more than allowed.
    pub(crate) fn price(
        &self,
        operation: &OperationDefinition,
        variables: &serde_json::Map<String, serde_json::Value>,
        shape: &Shape,
        limits: &Limits,
    ) -> Result<u64, Refusal> {
        input::check(variables, limits)?;
        input::required(operation, variables)?;
        let cost = cost::of(&self.parsed, operation, variables, shape);
        if cost > limits.complexity {
            return Err(Refusal::over(Kind::Complexity, limits.complexity, cost));
        }
        if operation.ty == OperationType::Subscription {
            walk::one_root(&self.parsed, operation)?;
        }
        Ok(cost)
    }
}

/// Where the text stops making sense. The library's message quotes the text, which is not for answers.
fn unreadable(error: &parser::Error) -> Refusal {
    let place = error.positions().next().map(|at| (at.line, at.column));
    let message = match error {
        parser::Error::Syntax { .. } => "the document is no GraphQL",
        parser::Error::MultipleOperations { .. } => {
            "an operation without a name must be the only one of its document"
        }
        parser::Error::OperationDuplicated { .. } => "two operations have the same name",
        parser::Error::FragmentDuplicated { .. } => "two fragments have the same name",
        parser::Error::MissingOperation => "the document has no operation",
        _ => "the document cannot be read",
    };
    Refusal::syntax(message, place)
}
