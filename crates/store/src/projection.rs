//! What a projection is: a derived table, and how the log becomes its rows.
//!
//! There are two kinds. The rows of a [`Projection`] follow from each envelope alone. The rows of a [`Fold`] depend on
//! earlier rows of the same table. Neither may depend on where pages end: a rebuild with other pages writes the same rows.
//!
//! Statements name no schema: the search path of the transaction determines whether the served tables are written or those that
//! are being built beside them (see `rebuild.rs`).

mod entry;
mod erased;
mod fold;

use std::future::Future;

use sqlx::PgConnection;

use crate::{error::Result, totals::Totals};

pub use entry::Entry;
pub(crate) use erased::{Erased, fold, pure};
pub(crate) use fold::{Change, Fold};

/// A derived table whose rows follow from each envelope alone.
pub(crate) trait Projection: Send + Sync + 'static {
    /// The name of the table, the file, the watermark, the metric label and the status row.
    const NAME: &'static str;
    /// Raise it when `derive` or the table changes: the table is then built again beside the served one.
    const VERSION: i32;
    /// The tables that it writes, without their schema.
    const TABLES: &'static [&'static str];
    /// What one envelope adds.
    type Row: Send + Sync;

    /// Pure. An envelope that this table does not care about adds no rows.
    fn derive(entry: &Entry, rows: &mut Vec<Self::Row>);

    /// Writes the rows of a page, which are in the order of the log and not empty.
    fn write(
        connection: &mut PgConnection,
        rows: Vec<Self::Row>,
        totals: &mut Totals,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Takes away what these envelopes added and what cannot stay when their messages are erased; all of them have been
    /// written. What is counted stays, because it is derived from tombstones as well: afterwards the tables hold what a
    /// rebuild would give.
    fn erase(
        _connection: &mut PgConnection,
        _erased: &[Entry],
        _totals: &mut Totals,
    ) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }
}
