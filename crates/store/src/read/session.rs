//! The connection of one snapshot.

use sqlx::{
    AssertSqlSafe,
    postgres::{PgArguments, PgDatabaseError, PgRow, PgSeverity},
};

use super::statement::Statement;
use crate::{
    database::{Reader, Store},
    error::{Error, Result},
};

/// A borrowed connection. [`Session::close`] returns it. A session that is dropped instead closes it, because it is unknown
/// what still runs there, or whether a transaction is open.
pub(super) struct Session {
    reader: Option<Reader>,
    /// Was a statement sent whose answer has not been read to its end?
    pending: bool,
    /// Did the connection fail, and not only a statement?
    broken: bool,
}

impl Session {
    pub(super) async fn borrow(store: &Store) -> Result<Session> {
        Ok(Session { reader: Some(store.reader().await?), pending: false, broken: false })
    }

    /// Sends several statements without values in one round trip, and returns the first row, in text format.
    pub(super) async fn batch(&mut self, text: &'static str) -> Result<Option<PgRow>> {
        let reader = self.reader.as_mut().ok_or(Error::Exhausted)?;
        self.pending = true;
        let row = sqlx::raw_sql(text).fetch_optional(reader.connection()).await;
        self.answered(row)
    }

    /// The rows of a statement. When the future is dropped before it ends, the next call reads and drops what is left of
    /// the answer first.
    pub(super) async fn rows(&mut self, statement: Statement) -> Result<Vec<PgRow>> {
        let reader = self.reader.as_mut().ok_or(Error::Exhausted)?;
        let Statement { text, values, repeats } = statement;
        let mut arguments = PgArguments::default();
        for value in &values {
            value.encode(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        // Texts are made of fragments of this program's source, and of numbers.
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(repeats);
        self.pending = true;
        let rows = query.fetch_all(reader.connection()).await;
        self.answered(rows)
    }

    fn answered<T>(&mut self, answer: sqlx::Result<T>) -> Result<T> {
        self.pending = false;
        self.broken |= answer.as_ref().is_err_and(|error| !is_refusal(error));
        Ok(answer?)
    }

    /// Whether there is an unread response to an abandoned statement.
    pub(super) fn is_pending(&self) -> bool {
        self.pending
    }

    /// Returns the connection, unless it failed or a statement still runs there. No transaction may be open.
    pub(super) fn close(mut self) {
        if !self.pending
            && !self.broken
            && let Some(reader) = self.reader.take()
        {
            reader.release();
        }
    }
}

/// Did the server refuse the statement, and no more? After a fatal error it closes the connection.
fn is_refusal(error: &sqlx::Error) -> bool {
    let refusal = error.as_database_error().and_then(|error| error.try_downcast_ref());
    refusal.is_some_and(|error: &PgDatabaseError| {
        !matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic)
    })
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.abandon(self.pending);
        }
    }
}
