//! What can go wrong, sorted by what the caller should do about it.

/// The result of every call to PostgreSQL.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// PostgreSQL cannot work now (away, restarting, full, deadlocked): keep the work, back off, retry.
    Retry,
    /// PostgreSQL refuses a value, and will for ever: find the one envelope and park it.
    Data,
    /// No retry helps (wrong schema, missing permission, a bug): stop and report it.
    Fatal,
}

/// Everything that can go wrong between this program and PostgreSQL.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the database cannot be read.
    #[error("DATABASE_URL is not an address of PostgreSQL: {0}")]
    Address(String),
    /// No connection could be had.
    #[error("cannot reach PostgreSQL at {target}: {reason}")]
    Unreachable {
        /// Host, port and database, without credentials.
        target: String,
        /// The error of the driver.
        reason: String,
    },
    /// The database cannot hold every text.
    #[error(
        "the database at {target} is in the encoding {encoding}, and topics need UTF8: \
         create one with `createdb -E UTF8 -T template0 NAME` and point DATABASE_URL at it"
    )]
    Encoding {
        /// Host, port and database.
        target: String,
        /// Its encoding.
        encoding: String,
    },
    /// The database belongs to another network.
    #[error(
        "the database at {target} holds the network {found:?}, and the configuration says network = {wanted:?}: correct `network`, or use another database"
    )]
    OtherNetwork {
        /// Host, port and database, without credentials.
        target: String,
        /// The network of the database.
        found: String,
        /// The network that was expected.
        wanted: String,
    },
    /// No connection of the pool became free in time.
    #[error(
        "no connection to PostgreSQL became free in time; raise database.max_connections or lower the load"
    )]
    Exhausted,
    /// The server refused or failed a statement, or the connection broke.
    #[error("{}", describe(.0))]
    Postgres(#[source] sqlx::Error),
    /// The database was written by a newer program.
    #[error(
        "the database is at schema version {found}, newer than this program's {known}: install the newer xmtp-indexer, or point DATABASE_URL at another database"
    )]
    Newer {
        /// The version found.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// The database has not been brought to this program's version.
    #[error(
        "the database is at schema version {found}, this program needs {known}: run `xmtp-indexer migrate`"
    )]
    Older {
        /// The version found; 0 means an empty database.
        found: i64,
        /// The version that this program needs.
        known: i64,
    },
    /// A migration failed.
    #[error("migration failed: {0}")]
    Migration(String),
    /// The database contradicts itself.
    #[error("the database contradicts itself in {table}: {what}")]
    Contradiction {
        /// Where.
        table: &'static str,
        /// What was expected and found.
        what: String,
    },
    /// A single-statement read got a second query.
    #[error("a single-statement read runs one query: use a snapshot for several")]
    Spent,
    /// There is no such projection.
    #[error("there is no projection named {0:?}; known are: {1}")]
    NoSuchProjection(String, String),
    /// The request cannot be carried out; the message says why, and what to do.
    #[error("{0}")]
    Refused(String),
}

fn describe(error: &sqlx::Error) -> String {
    match error.as_database_error() {
        Some(refusal) => format!(
            "PostgreSQL refused: {} ({})",
            refusal.message(),
            refusal.code().unwrap_or_else(|| "no code".into())
        ),
        None => format!("the connection to PostgreSQL failed: {error}"),
    }
}

impl Error {
    /// What to do about it.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Error::Unreachable { .. } | Error::Exhausted => Class::Retry,
            Error::Postgres(error) => class_of(error),
            _ => Class::Fatal,
        }
    }

    /// Whether the connection, the server or another transaction failed, and not the statement.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.code() {
            // 08 connection, 25 read-only or aborted transaction, 40 rollback, 53 resources, 55 locks, 57 operator, 58 system.
            Some(code) => ["08", "25", "40", "53", "55", "57", "58"]
                .contains(&code.get(..2).unwrap_or_default()),
            None => self.class() == Class::Retry,
        }
    }

    /// The SQLSTATE, when PostgreSQL refused something.
    #[must_use]
    pub fn code(&self) -> Option<String> {
        match self {
            Error::Postgres(error) => Some(error.as_database_error()?.code()?.into_owned()),
            _ => None,
        }
    }
}

fn class_of(error: &sqlx::Error) -> Class {
    use sqlx::Error as Driver;
    if let Some(code) = error.as_database_error().and_then(|refusal| refusal.code()) {
        return class_of_code(&code);
    }
    match error {
        // Connections break and come back.
        Driver::Io(_)
        | Driver::PoolTimedOut
        | Driver::PoolClosed
        | Driver::WorkerCrashed
        | Driver::Tls(_)
        | Driver::Protocol(_)
        | Driver::BeginFailed => Class::Retry,
        // What the driver cannot encode, decode or configure now it never will.
        _ => Class::Fatal,
    }
}

/// Only a refusal of a value itself is an error of the value. Anything else may be, and usually is, a failure of ours.
fn class_of_code(code: &str) -> Class {
    match (code, code.get(..2)) {
        // Characters that the encoding does not have, values that are too long or out of range, rows that are too large.
        ("22021" | "22P05" | "22001" | "22003" | "54000", _) => Class::Data,
        // 42 syntax, access rule or undefined object; 3D and 3F: no such database or schema; 28: authentication; 0A: not
        // supported.
        (_, Some("42" | "3D" | "3F" | "28" | "0A")) => Class::Fatal,
        _ => Class::Retry,
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Error::Exhausted,
            error => Error::Postgres(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_of_the_value_is_the_value_s_fault() {
        for code in [
            "53100", "57P01", "57P03", "08006", "40001", "40P01", "55P03", "57014", "25006",
            "23514", "23505", "25P02", "XX000", "22012",
        ] {
            assert_eq!(class_of_code(code), Class::Retry, "{code}");
        }
        for code in ["22021", "22P05", "54000"] {
            assert_eq!(class_of_code(code), Class::Data, "{code}");
        }
        for code in ["42P01", "42501", "28P01", "3D000"] {
            assert_eq!(class_of_code(code), Class::Fatal, "{code}");
        }
    }

    #[test]
    fn driver_errors_that_never_heal_are_fatal() {
        let broken = sqlx::Error::Io(std::io::Error::other("reset"));
        assert_eq!(Error::from(broken).class(), Class::Retry);
        for error in [
            sqlx::Error::ColumnNotFound("x".into()),
            sqlx::Error::TypeNotFound { type_name: "x".into() },
            sqlx::Error::Decode("x".into()),
        ] {
            assert_eq!(Error::from(error).class(), Class::Fatal);
        }
    }
}
