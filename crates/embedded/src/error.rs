//! What can go wrong with the embedded services: one sentence each, with what to do.

use std::{io, path::PathBuf};

/// Why the embedded services could not be started, found or stopped.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// Another process holds the data folder.
    #[error("{} is in use by process {pid}, since {since}: stop it (kill {pid}), or choose another folder with --data-dir", .data_dir.display())]
    Held {
        /// The folder that is held.
        data_dir: PathBuf,
        /// The holder's process id.
        pid: u32,
        /// When the holder took the folder (RFC 3339), or `an unknown time`.
        since: String,
    },
    /// A program is not on this machine.
    #[error("{what} is not installed: run bin/up, or apt-get install {package}, or set {variable}")]
    NotInstalled {
        /// The program's name.
        what: &'static str,
        /// Debian's name for the package.
        package: &'static str,
        /// The variable that makes it unnecessary.
        variable: &'static str,
    },
    /// The cluster in the data folder needs another PostgreSQL than those installed.
    #[error("{} was made by PostgreSQL {data}, and installed is {installed}: apt-get install postgresql-{data}, or choose another folder with --data-dir", .folder.display())]
    OtherVersion {
        /// The cluster's folder.
        folder: PathBuf,
        /// The version that made it.
        data: u32,
        /// The versions that are here.
        installed: String,
    },
    /// The unprivileged user cannot walk to the data folder.
    #[error("PostgreSQL refuses to run as root, and user {user} (who runs it instead) may not enter {}: choose a folder outside of it with --data-dir, for example /var/lib/xmtp-indexer", .folder.display())]
    Unreachable {
        /// The first folder on the way that is closed.
        folder: PathBuf,
        /// The user that cannot enter.
        user: String,
    },
    /// The data belongs to somebody else.
    #[error("{} belongs to user {owner} and not to {user}: run as {owner} or root, or choose another folder with --data-dir", .path.display())]
    WrongOwner {
        /// What belongs to somebody else.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who we are.
        user: String,
    },
    /// There is no room.
    #[error("the disk of {} is full: {free_mib} MiB free, at least {needed_mib} MiB are needed; make room, or choose another folder with --data-dir", .folder.display())]
    DiskFull {
        /// A folder on that disk.
        folder: PathBuf,
        /// What is free, in MiB.
        free_mib: u64,
        /// What a start needs, in MiB.
        needed_mib: u64,
    },
    /// Somebody took the port between choosing and using it.
    #[error(
        "port {port}, chosen for {service}, was taken by another program meanwhile: start again, and another one is chosen"
    )]
    PortTaken {
        /// Which service wanted it.
        service: &'static str,
        /// The port.
        port: u16,
    },
    /// There is data, and the passwords that open it are gone.
    #[error("{} is missing, and the data in {} cannot be opened without it: restore that file, or choose another folder with --data-dir", .secrets.display(), .folder.display())]
    SecretsLost {
        /// The file that is missing.
        secrets: PathBuf,
        /// The folder that it opens.
        folder: PathBuf,
    },
    /// A service ended, or did not answer, while it was being started.
    #[error("{service} did not start: {reason} (more in {})", .log.display())]
    DidNotStart {
        /// Which service.
        service: &'static str,
        /// Its last words, on one line.
        reason: String,
        /// Where it logs to.
        log: PathBuf,
    },
    /// RabbitMQ has not written down its queues on its first start.
    #[error(
        "RabbitMQ did not write down its queues within {limit} s of its first start, so a crash would lose them: start again, and its data are made anew"
    )]
    QueuesNotWritten {
        /// How long it was waited for, in seconds.
        limit: u64,
    },
    /// The name of the data folder holds a character that configuration files cannot hold.
    #[error(
        "the data folder {name:?} has a line break or another control character in its path: choose another folder with --data-dir"
    )]
    UnusableName {
        /// The path, which is shown escaped.
        name: String,
    },
    /// The process that holds the data folder runs no such service, or has not completed its first start.
    #[error(
        "process {pid}, which holds the data folder, has announced no {what}: it may still be starting; otherwise name one in the configuration"
    )]
    NotAnnounced {
        /// Which service.
        what: String,
        /// The holder's process id.
        pid: u32,
    },
    /// A service is not wanted here, so it cannot be waited for.
    #[error("{0} is not run by this process")]
    NotRunHere(&'static str),
    /// The operating system refused.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: String,
        /// The refusal.
        source: io::Error,
    },
}

/// Adds what was tried to an error of the operating system.
pub(crate) trait Context<T> {
    /// Names what was tried, in words that follow "cannot".
    fn context(self, action: impl FnOnce() -> String) -> Result<T, EmbeddedError>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T, EmbeddedError> {
        self.map_err(|source| EmbeddedError::Io { action: action(), source })
    }
}
