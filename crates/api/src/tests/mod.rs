//! The schema against the contract, and real traffic against the truth about it.

mod batches;
mod contract;
mod fixture;
mod http;
mod nodes;
mod paging;
mod truth;
