#![doc = include_str!("../README.md")]

mod cursor;
mod error;
mod exec;
mod guard;
/// The hostile inputs of the benchmark, which belong to `bench`: one list for both.
#[cfg(test)]
#[path = "../../bench/src/hostile/inputs/mod.rs"]
pub mod hostile;
mod http;
mod intake;
mod introspection;
mod node_id;
mod opaque;
mod paging;
mod scalars;
mod schema;
mod scope;
mod tail;
mod transport;
mod types;

pub use error::Code;
pub use guard::{Limits, Listings};
pub use http::{BindError, Exposure, HealthProbe, Keys, Options, Rate, Server};
pub use schema::sdl;
pub use scope::{QueueDepth, QueueFault, QueueProbe};
pub use transport::{
    origin::Cors,
    persisted::{Persisted, Trusted},
    ws::SocketLimits,
};

#[cfg(test)]
mod tests;
