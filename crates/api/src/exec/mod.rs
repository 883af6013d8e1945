//! How answers are made: breadth first, a level of the document at a time.
//!
//! Types are tables of fields ([`Table`]): each field has its name, its words for the schema, and the way to its value.
//! The schema that callers see, what documents are validated against and what is executed are all read from the same
//! tables, so there is nothing to keep in step. async-graphql parses, validates and introspects; it executes nothing
//! else.
//!
//! A document is compiled once into a [`Plan`]: for every selection the fields, fragments merged and directives
//! decided. To answer, the values of one field are found for *all* rows of a level together, as a column: what needs
//! the database is one statement, however many rows there are. So the number of statements follows from the document
//! alone, and is known before the first is sent: a request that needs only one needs no transaction around it.
//! Columns are then written to JSON in one pass. Nulls that may not be are carried up while writing, as the
//! specification says (§6.4.4), by cutting the text back.

mod call;
mod describe;
mod leaf;
mod object;
mod one_of;
mod output;
mod plan;
mod table;
mod write;

pub(crate) use call::{Call, Run};
pub(crate) use describe::{Arguments, arguments, of_input as describe_arguments};
pub(crate) use object::{
    Object, compile_object, describe_object, describe_subscription, object, open, rows,
};
pub(crate) use one_of::{ID, Mixed, NOTHING, interface_fields, one_of};
pub(crate) use output::{Column, Finding, Output};
pub(crate) use plan::{Compiler, Plan, Plans, Selection};
pub(crate) use table::{Statements, Table};
pub(crate) use write::{Halt, Problem, Writer};
