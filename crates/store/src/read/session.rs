//! The connection of one snapshot.

use sqlx::{
    AssertSqlSafe, Postgres,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
};
use tokio::{runtime::Handle, sync::OwnedSemaphorePermit};

use super::statement::Statement;
use crate::{
    database::{CLIENT_CHECK, Store},
    error::{Error, Result},
};

/// A borrowed connection. [`Session::close`] returns it to its pool. A session that is dropped instead closes it, because
/// nobody knows what still runs there, or whether a transaction is open.
pub(super) struct Session {
    connection: Option<PoolConnection<Postgres>>,
    place: Option<OwnedSemaphorePermit>,
    /// Was a statement sent whose answer has not been read to its end?
    pending: bool,
}

impl Session {
    pub(super) async fn borrow(store: &Store) -> Result<Session> {
        let (connection, place) = store.reader().await?;
        Ok(Session { connection: Some(connection), place: Some(place), pending: false })
    }

    /// Sends several statements without values in one round trip, and returns the first row, in text format.
    pub(super) async fn batch(&mut self, text: &'static str) -> Result<Option<PgRow>> {
        let connection = self.connection.as_mut().ok_or(Error::Exhausted)?;
        self.pending = true;
        let row = sqlx::raw_sql(text).fetch_optional(&mut **connection).await;
        self.pending = false;
        Ok(row?)
    }

    /// The rows of a statement. When the future is dropped before it ends, the next call reads and drops what is left of
    /// the answer first.
    pub(super) async fn rows(&mut self, statement: Statement) -> Result<Vec<PgRow>> {
        let connection = self.connection.as_mut().ok_or(Error::Exhausted)?;
        let Statement { text, values, repeats } = statement;
        let mut arguments = PgArguments::default();
        for value in &values {
            value.encode(&mut arguments).map_err(sqlx::Error::Encode)?;
        }
        // Texts are made of fragments that stand in this program, and of numbers.
        let query = sqlx::query_with(AssertSqlSafe(text), arguments).persistent(repeats);
        self.pending = true;
        let rows = query.fetch_all(&mut **connection).await;
        self.pending = false;
        Ok(rows?)
    }

    /// Is an answer unread that nobody waits for any more?
    pub(super) fn is_pending(&self) -> bool {
        self.pending
    }

    /// Returns the connection to its pool. No transaction may be open.
    pub(super) fn close(mut self) {
        if !self.pending {
            drop(self.connection.take());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        // Out of the pool, and its socket closed.
        drop(connection.detach());
        // The server notices after a while, and ends the statement then. Until then its place stays taken: otherwise there
        // could be any number of statements that run for nobody.
        if let (true, Some(place), Ok(runtime)) =
            (self.pending, self.place.take(), Handle::try_current())
        {
            runtime.spawn(async move {
                tokio::time::sleep(CLIENT_CHECK).await;
                drop(place);
            });
        }
    }
}
