#![doc = include_str!("../README.md")]

pub mod bench;
pub mod cli;
pub mod command;
pub mod config;
pub mod progress;
pub mod reach;
pub mod role;
pub mod shutdown;
pub mod telemetry;
pub mod web;
