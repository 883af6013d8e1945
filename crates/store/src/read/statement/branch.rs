//! Scans: each way to the rows of a list is a scan of an index of its own.

use std::fmt::Write as _;

use super::{List, MOST, Slot};

/// One way to the rows. Several are merged; no row may be found by two of them.
#[derive(Clone, Debug, Default)]
pub(in crate::read) struct Branch {
    pub(super) conditions: Vec<String>,
    /// One scan for each row of this.
    each: Option<String>,
}

impl Branch {
    pub(in crate::read) fn and(mut self, fragment: &'static str, slot: Slot) -> Self {
        self.conditions.push(slot.fill(fragment));
        self
    }

    /// One scan for each row of `rows`, which `condition` compares with.
    pub(in crate::read) fn each(
        mut self,
        rows: &'static str,
        slot: Slot,
        condition: &'static str,
    ) -> Self {
        self.each = Some(slot.fill(rows));
        self.conditions.push(condition.to_owned());
        self
    }

    fn select(&self, list: &List, columns: &str) -> String {
        let mut text = format!("select {columns} from {}", list.table);
        for (nth, condition) in self.conditions.iter().enumerate() {
            let _ = write!(text, " {} {condition}", if nth == 0 { "where" } else { "and" });
        }
        text
    }

    /// All rows, for counting.
    pub(super) fn all(&self, list: &List) -> String {
        let text = self.select(list, "");
        match &self.each {
            None => text,
            Some(rows) => format!("select from {rows} cross join lateral ({text}) one"),
        }
    }

    /// The first rows in an order.
    pub(super) fn first(&self, list: &List, descending: bool, limit: Limit) -> String {
        let text = self.select(list, list.columns);
        let text = limit.first(&text, list, descending);
        match &self.each {
            None => text,
            Some(rows) => format!(
                "select one.* from {rows} cross join lateral ({text}) one order by {} limit {}",
                list.merged_order("", descending),
                limit.slot
            ),
        }
    }
}

/// The largest number of rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) slot: Slot,
    /// No more than [`MOST`]?
    pub(super) usual: bool,
}

impl Limit {
    fn first(self, text: &str, list: &List, descending: bool) -> String {
        let (slot, order) = (self.slot, list.order(descending));
        if self.usual {
            // PostgreSQL reads no more of a subquery than it needs. It keeps the subquery's order, but sorts what is joined to
            // it once more unless the order is repeated.
            let again = list.bare_order(descending);
            format!(
                "select * from ({text} order by {order} limit {MOST}) usual order by {again} limit {slot}"
            )
        } else {
            format!("{text} order by {order} limit {slot}")
        }
    }
}
