#![doc = include_str!("../README.md")]

pub mod budget;
pub mod error;
pub mod import;
pub mod pager;
pub mod puller;
pub mod queue;
pub mod source;
pub mod worker;

mod back_off;
mod clock;
mod seconds;

pub use error::{Error, Result};
pub use pager::PageOptions;
pub use puller::{Puller, PullerOptions};
pub use queue::publisher::{Publisher, PublisherOptions};
pub use queue::{Depth, Health, Names, Queue};
pub use source::message_api::crawl;
pub use source::{Kind, Source, UnknownKind};
pub use worker::{Worker, WorkerOptions};
