//! One file a command: what it takes (`Args`) and what it does (`run`).

use crate::{config::Config, health::Health, shutdown::Shutdown};

pub mod crawl;
pub mod devnet;
pub mod erase;
pub mod export;
pub mod import;
pub mod keys;
pub mod migrate;
pub mod parked;
pub mod rebuild;
pub mod roles;
pub mod schema;
pub mod services;
pub mod sources;
pub mod status;
pub mod up;

/// What every command receives.
#[derive(Debug)]
pub struct Context {
    /// The settings in force.
    pub config: Config,
    /// Listens to signals already.
    pub shutdown: Shutdown,
    /// The state of the roles of this process.
    pub health: Health,
}
