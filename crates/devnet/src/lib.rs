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
