//! A private PostgreSQL and a private RabbitMQ in a data folder, as child processes.
//!
//! They are for trying the program, for tests, and for deployments on one machine. What they hold
//! is kept between runs. A child that dies is started again on the same port. When this process
//! dies, however it dies, the kernel tells the children to stop; what is left of them all the same
//! is ended by the next start.
//!
//! The folder, which one process holds at a time:
//!
//! | in it | what |
//! |---|---|
//! | `lock` | held by the process that runs here; says who, and since when |
//! | `running.json` | where its services answer, for other commands (passwords: owner only) |
//! | `secrets.json` | the passwords, made once (owner only) |
//! | `ports.json` | the ports, kept while they are free |
//! | `postgres/`, `rabbitmq/` | the data, which belong to the user who runs the services |
//! | `pids/` | the running children, for the next start |
//! | `logs/` | what the services print, bounded |

mod error;
mod lock;
mod output;
mod owner;
mod ports;
mod postgres;
mod process;
mod rabbitmq;
mod room;
mod secrets;
mod services;
mod supervisor;
mod tuning;

pub use error::EmbeddedError;
pub use lock::{Announcement, Running, running};
pub use services::{Login, Options, Progress, Services, Stop};
pub use tuning::memory_bytes;
