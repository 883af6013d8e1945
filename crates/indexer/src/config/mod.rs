//! The settings: from `config.default.toml` (compiled in), a file, the environment and flags, each
//! over the one before. An unknown key is refused: it is a typing error that would
//! otherwise be found in production.

mod api;
mod error;
mod keys;
pub mod listen;
mod load;
mod retention;
mod secret_url;
mod sections;
mod variables;

pub use api::{Api, ApiLimits, ApiSockets, Persisted};
pub use error::ConfigError;
pub use load::Overrides;
pub use retention::Retention;
pub use secret_url::SecretUrl;
pub use sections::{Config, Database, Format, Http, Log, Metrics, Project, Pull, Queue, Source};
pub use variables::Variables;
