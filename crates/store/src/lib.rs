#![doc = include_str!("../README.md")]

mod address;
pub mod append;
mod copy;
pub mod crawl;
pub mod database;
pub mod erase;
pub mod error;
pub mod gaps;
pub mod grants;
pub mod keys;
pub mod leader;
pub mod log;
pub mod maintenance;
#[cfg(any(test, feature = "measure"))]
pub mod measure;
pub mod migrate;
mod network;
pub mod parked;
pub mod projection;
mod projections;
pub mod projector;
pub mod read;
mod rebuild;
pub mod sources;
pub mod time;
mod totals;
pub mod watermarks;

pub use append::{Appended, Origin, Page, Progress, Record};
pub use database::{Options, Store};
pub use error::{Class, Error, Result};
pub use gaps::{Gap, GapState};
pub use leader::Leadership;
pub use log::{Logged, Position};
pub use maintenance::Maintained;
pub use projector::Projector;

#[cfg(test)]
mod testing;
