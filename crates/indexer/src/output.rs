//! What commands print. A closed or full stdout is never a panic: the reader of `| head` has seen what it wanted, and ends the
//! command quietly; other failures end it with an error. What serves goes on without its reader.

use std::{
    fmt,
    io::{self, Write},
};

/// The reader of stdout has closed it. A command that fails with this has done its work.
#[derive(Debug, thiserror::Error)]
#[error("the reader of stdout has closed it")]
pub struct Closed;

/// Writes to stdout, at once.
///
/// # Errors
/// [`Closed`] when the reader has closed stdout; a message about any other failure.
pub fn print(text: fmt::Arguments<'_>) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_fmt(text).and_then(|()| stdout.flush()).map_err(failure)
}

/// Writes to stderr, where a failure cannot be reported.
pub fn print_error(text: fmt::Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

/// What a failed write to stdout means.
pub fn failure(error: io::Error) -> anyhow::Error {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Closed.into(),
        _ => anyhow::Error::from(error).context("cannot write to stdout"),
    }
}

/// Prints a line on stdout; returns a result like [`print`].
macro_rules! say {
    () => { $crate::output::print(format_args!("\n")) };
    ($format:literal $($rest:tt)*) => {
        $crate::output::print(format_args!("{}\n", format_args!($format $($rest)*)))
    };
}

/// Prints a line on stderr.
macro_rules! note {
    ($format:literal $($rest:tt)*) => {
        $crate::output::print_error(format_args!("{}\n", format_args!($format $($rest)*)))
    };
}

pub(crate) use {note, say};
