//! Benchmarks: real processes, real services, ratios against limits that are measured in the same run.

pub mod api;
pub mod child;
pub mod hostile;
pub mod ingest;
pub mod latency;
pub mod limits;
pub mod log;
pub mod machine;
pub mod socket;
