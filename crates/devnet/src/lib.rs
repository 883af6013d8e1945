#![doc = include_str!("../README.md")]

mod devnet;
mod gateway;
pub mod generate;
mod grpc;
mod node;
mod options;
mod play;

pub use devnet::Devnet;
pub use options::{Error, Generator, Options};

/// Traffic of official clients of V1 and V2 (`captures/legacy-a`), compressed: a file for [`Options::captures`].
pub static CAPTURE: &[u8] = include_bytes!("../captures/legacy-a/envelopes.ndjson.gz");
