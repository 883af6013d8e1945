#![doc = include_str!("../README.md")]

pub mod cli;
pub mod command;
pub mod config;
pub mod embedded;
pub mod shutdown;
pub mod telemetry;
