#![doc = include_str!("../README.md")]
// These macros panic when the reader has closed the stream; `output` does not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod cli;
pub mod command;
pub mod config;
pub mod health;
pub mod operations;
pub mod output;
pub mod progress;
pub mod reach;
pub mod role;
pub mod shutdown;
pub mod supervise;
pub mod telemetry;
pub mod text;
pub mod waiting;
pub mod web;
