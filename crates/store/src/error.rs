//! What can go wrong, sorted by what the caller should do about it.

use tokio_postgres::error::SqlState;

/// The result of everything that asks Postgres.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Our side is in trouble (away, restarting, full, deadlocked): keep the work, back off, try again.
    Retry,
    /// This input can never be stored: find the one envelope and park it.
    Data,
    /// No retry helps (wrong schema, missing permission): stop and tell a person.
    Fatal,
}

/// Everything that can go wrong between us and Postgres.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the database cannot be understood.
    #[error("DATABASE_URL is not a Postgres address: {0}")]
    Url(tokio_postgres::Error),
    /// No connection could be had.
    #[error("cannot reach Postgres at {target}: {reason}")]
    Unreachable {
        /// Host and port, without credentials.
        target: String,
        /// What the driver said.
        reason: String,
    },
    /// The pool has no free connection in time.
    #[error(
        "no connection to Postgres became free in time; raise database.max_connections or lower the load"
    )]
    Exhausted,
    /// The server refused or failed a statement.
    #[error("{}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The database was written by a newer program.
    #[error(
        "the database is at schema version {found}, newer than this program's {known}: install the newer xmtp-indexer, or point DATABASE_URL at another database"
    )]
    Newer {
        /// The version found.
        found: i32,
        /// The newest version that this program knows.
        known: i32,
    },
    /// The database has not been brought to this program's version.
    #[error(
        "the database is at schema version {found}, this program needs {known}: run `xmtp-indexer migrate`"
    )]
    Older {
        /// The version found; 0 means an empty database.
        found: i32,
        /// The version that this program needs.
        known: i32,
    },
    /// A migration failed.
    #[error("migration failed: {0}")]
    Migration(String),
    /// A projection's stored version is above the program's.
    #[error(
        "projection {name} was built by version {found}, this program has version {known}: an old program met a new database"
    )]
    NewerProjection {
        /// The projection.
        name: &'static str,
        /// The version found.
        found: i32,
        /// The program's version.
        known: i32,
    },
    /// The database contradicts itself.
    #[error("the database contradicts itself in {table}: {what}")]
    Contradiction {
        /// Where.
        table: &'static str,
        /// What was expected and found.
        what: String,
    },
    /// A moment of one question was asked a second one.
    #[error("a glance answers one question: hold a snapshot for several")]
    Spent,
    /// No such projection.
    #[error("there is no projection named {0:?}; known are: {1}")]
    NoSuchProjection(String, String),
    /// What was asked for cannot be; the sentence says why, and what can.
    #[error("{0}")]
    Refused(String),
}

fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("Postgres refused: {} ({})", db.message(), db.code().code()),
        None => format!("connection to Postgres failed: {error}"),
    }
}

impl Error {
    /// What to do about it. Everything that is not known to be the input's fault is ours, and retried.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Error::Unreachable { .. } | Error::Exhausted => Class::Retry,
            Error::Postgres(error) => error.code().map_or(Class::Retry, class_of),
            _ => Class::Fatal,
        }
    }
}

fn class_of(code: &SqlState) -> Class {
    match code.code().get(..2) {
        // Values that do not fit: 22 data exception, 23 integrity, 54 program limit exceeded.
        Some("22" | "23" | "54") => Class::Data,
        // 42 syntax, access rule or undefined object; 3D and 3F: no such database or schema; 28: who are you.
        Some("42" | "3D" | "3F" | "28") => Class::Fatal,
        _ => Class::Retry,
    }
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => Error::Postgres(error),
            deadpool_postgres::PoolError::Timeout(_) => Error::Exhausted,
            other => Error::Unreachable { target: "the pool".into(), reason: other.to_string() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_to_do() {
        for code in ["53100", "57P01", "57P03", "08006", "40001", "40P01", "55P03", "57014"] {
            assert_eq!(class_of(&SqlState::from_code(code)), Class::Retry, "{code}");
        }
        for code in ["22021", "23514", "54000"] {
            assert_eq!(class_of(&SqlState::from_code(code)), Class::Data, "{code}");
        }
        for code in ["42P01", "42501", "28P01", "3D000"] {
            assert_eq!(class_of(&SqlState::from_code(code)), Class::Fatal, "{code}");
        }
    }
}
