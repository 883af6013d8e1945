//! Logs on stderr (readable for people on a terminal, JSON for machines elsewhere), and metrics.

pub mod metrics;

use std::io::{IsTerminal, stderr};

use tracing_subscriber::{EnvFilter, fmt, prelude::*};

use crate::config::{ConfigError, Format, Log};

/// Sets logging up, once a process. `RUST_LOG`, when it is set, wins over the configured level.
pub fn init(log: &Log, rust_log: Option<&str>) -> Result<(), ConfigError> {
    let directives = rust_log.filter(|text| !text.is_empty()).unwrap_or(&log.level);
    // Whatever the level: this library logs returned pages with their bytes, and it also returns its failures as errors.
    let directives = format!("{directives},lapin=off");
    let filter = EnvFilter::builder().parse(&directives).map_err(|error| {
        let reason = format!("`{directives}` is not a filter for logs: {error}");
        ConfigError::Value { key: "log.level (or RUST_LOG)".to_owned(), reason }
    })?;
    let pretty = match log.format {
        Format::Auto => stderr().is_terminal(),
        Format::Pretty => true,
        Format::Json => false,
    };
    let (people, machines) = if pretty {
        (Some(fmt::layer().with_writer(stderr).with_ansi(stderr().is_terminal())), None)
    } else {
        (None, Some(fmt::layer().json().flatten_event(true).with_writer(stderr)))
    };
    // A subscriber that is installed already (by a test) stays.
    _ = tracing_subscriber::registry().with(filter).with(people).with(machines).try_init();
    Ok(())
}
