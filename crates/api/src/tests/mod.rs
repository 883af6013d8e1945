//! The schema against the contract, and real traffic against the truth about it.

mod backlog;
mod batches;
mod clients;
mod closes;
mod contract;
mod execution;
mod exposure;
mod fixture;
mod http;
mod introspection;
mod keys;
mod limits;
mod live;
mod nodes;
mod paging;
mod scanner;
mod server;
mod slow;
mod socket;
mod stale;
mod truth;
