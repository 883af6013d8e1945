#![doc = include_str!("../README.md")]

pub mod api;
pub mod child;
pub mod hostile;
pub mod ingest;
pub mod latency;
pub mod limits;
pub mod log;
pub mod machine;
pub mod socket;
mod workspace;
