//! One file a command: what it takes (`Args`) and what it does (`run`).

use crate::{config::Config, shutdown::Shutdown};

pub mod services;

/// What every command is given.
#[derive(Debug)]
pub struct Context {
    /// The settings in force.
    pub config: Config,
    /// Listens to signals already.
    pub shutdown: Shutdown,
}
