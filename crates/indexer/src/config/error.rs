//! What can be wrong with the settings.

use std::path::PathBuf;

/// Wrong usage or configuration: the program ends with code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or understood.
    #[error("{}: {reason}", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A key that does not exist.
    #[error("{origin}: there is no setting `{key}`; did you mean `{nearest}`?")]
    Unknown {
        /// Where the key was found.
        origin: String,
        /// The key.
        key: String,
        /// The most similar key that exists.
        nearest: String,
    },
    /// A value that does not fit its key.
    #[error("{key}: {reason}")]
    Value {
        /// The key, or the variable.
        key: String,
        /// Why not.
        reason: String,
    },
    /// The command line is not usable.
    #[error("{0}")]
    Usage(String),
}
