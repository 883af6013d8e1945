#![doc = include_str!("../README.md")]

pub mod append;
pub mod crawl;
pub mod database;
pub mod error;
pub mod grants;
pub mod keys;
pub mod log;
pub mod maintenance;
pub mod measure;
pub mod migrate;
pub mod parked;
pub mod projections;
pub mod projector;
pub mod read;
pub mod sources;
pub mod time;
pub mod watermarks;

pub use append::{Appended, Page};
pub use database::{Options, Store};
pub use error::{Class, Error, Result};
pub use log::{Logged, Position};
pub use projector::Projector;

#[cfg(test)]
mod testing;
