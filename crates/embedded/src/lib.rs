#![doc = include_str!("../README.md")]

mod disk;
mod error;
mod first_start;
mod identity;
mod lock;
mod output;
mod owner;
mod ports;
mod postgres;
mod process;
mod rabbitmq;
mod secrets;
mod services;
mod supervisor;
mod tuning;

pub use error::EmbeddedError;
pub use lock::{Announcement, Running, running};
pub use services::{Login, Options, Progress, Services, Stop};
pub use tuning::memory_bytes;
