#![doc = include_str!("../README.md")]

pub mod budget;
pub mod coverage;
pub mod crawl;
pub mod error;
pub mod import;
pub mod pager;
pub mod progress;
pub mod puller;
pub mod queue;
pub mod source;
pub mod worker;

mod ask;
mod back_off;
mod clock;
mod edges;
mod feed;
mod seconds;
mod sweep;
mod tail;

pub use error::{Error, Result};
pub use pager::PageOptions;
pub use puller::{Puller, PullerOptions};
pub use queue::publisher::{Publisher, PublisherOptions};
pub use queue::{Depth, Health, Names, Queue};
pub use source::{Kind, Source, UnknownKind};
pub use worker::{Worker, WorkerOptions};
