#![doc = include_str!("../README.md")]

mod cursor;
mod error;
mod http;
mod node_id;
mod paging;
mod scalars;
mod schema;
mod scope;
mod types;

pub use error::Code;
pub use http::{BindError, Options, Server};
pub use schema::{Answer, Graph, sdl};
pub use scope::{QueueDepth, QueueProbe};

#[cfg(test)]
mod tests;
