//! Lists: where their rows come from, how they are sorted, and which of their counts are kept.

use std::borrow::Cow;

use super::Slot;

/// Where the rows of a list come from.
#[derive(Clone, Debug)]
pub(in crate::read) struct List {
    /// The columns that rows are read from, the sort column and the key among them.
    pub(in crate::read) columns: &'static str,
    /// The table.
    pub(in crate::read) table: &'static str,
    /// What it is sorted by before the key. With several tables, this and the key name theirs, because only columns of one
    /// table can be sought in one index.
    pub(in crate::read) sort: Option<&'static str>,
    /// May the sort column be null? Rows without a value then count as below all others.
    pub(in crate::read) nullable: bool,
    /// The primary key.
    pub(in crate::read) tie_breaker: &'static str,
    /// The name under which `derived.totals` holds the number of rows of the table.
    pub(in crate::read) total: Option<&'static str>,
    /// Joined to the rows of a page once they are known; `p` is the page.
    pub(in crate::read) with: Option<With>,
}

/// What is joined to the rows of a page.
#[derive(Clone, Debug)]
pub(in crate::read) struct With {
    /// Columns, behind those of the page.
    pub(in crate::read) columns: Cow<'static, str>,
    /// The joins that they come from. They must neither remove nor double a row.
    pub(in crate::read) joins: Cow<'static, str>,
}

/// The column without its table.
pub(super) fn bare(column: &'static str) -> &'static str {
    column.rsplit_once('.').map_or(column, |(_, name)| name)
}

fn order(sort: Option<&str>, tie_breaker: &str, descending: bool) -> String {
    let direction = if descending { "desc" } else { "asc" };
    match sort {
        Some(sort) => format!("{sort} {direction}, {tie_breaker} {direction}"),
        None => format!("{tie_breaker} {direction}"),
    }
}

impl List {
    /// The order of a scan.
    pub(super) fn order(&self, descending: bool) -> String {
        order(self.sort, self.tie_breaker, descending)
    }

    /// The order of a scan, for its rows.
    pub(super) fn bare_order(&self, descending: bool) -> String {
        order(self.sort.map(bare), bare(self.tie_breaker), descending)
    }

    /// The order of rows that scans have returned. A scan has rows with a value or rows without, and orders them as its
    /// index does; where both meet, rows without are the lowest.
    pub(super) fn merged_order(&self, prefix: &str, descending: bool) -> String {
        let (direction, nulls) = match (descending, self.nullable) {
            (true, true) => ("desc", " nulls last"),
            (false, true) => ("asc", " nulls first"),
            (true, false) => ("desc", ""),
            (false, false) => ("asc", ""),
        };
        let tie_breaker = bare(self.tie_breaker);
        match self.sort.map(bare) {
            Some(sort) => {
                format!("{prefix}{sort} {direction}{nulls}, {prefix}{tie_breaker} {direction}")
            }
            None => format!("{prefix}{tie_breaker} {direction}"),
        }
    }

    /// Row comparison is what a composite index can seek by.
    pub(super) fn beyond(&self, sort: Option<Slot>, sign: char, tie_breaker: Slot) -> String {
        match (self.sort, sort) {
            (Some(column), Some(sort)) => {
                format!("({column}, {}) {sign} ({sort}, {tie_breaker})", self.tie_breaker)
            }
            _ => format!("{} {sign} {tie_breaker}", self.tie_breaker),
        }
    }
}
