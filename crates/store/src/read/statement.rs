//! Statements put together from fragments of this program's source; a reader's values only ever become parameters, or
//! numbers in the text. Each combination of filters is one text, and so one prepared statement.
//!
//! Plans are made once for a text, before any value is known ("generic"), so texts contain what a planner would
//! guess from values: [`MOST`] bounds every scan of a page, and one key is compared by `=`, several by `= any`.

mod branch;
mod list;

use std::{borrow::Cow, fmt};

use super::{
    page::{Key, PageRequest, TieBreaker},
    value::{DbKey, Value},
};
pub(super) use branch::Branch;
use branch::Limit;
pub(super) use list::{List, With};

/// The rows of the largest page that readers get, and the one that shows whether there are more. Planners take a limit that
/// is a parameter for a tenth of the table, so this one is part of the text.
const MOST: i64 = 501;

/// A text and its values.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) text: Cow<'static, str>,
    pub(super) values: Vec<Value>,
    /// Will the same text come again? It is then kept as a prepared statement.
    pub(super) repeats: bool,
}

impl Statement {
    pub(super) fn new(text: impl Into<Cow<'static, str>>, values: Vec<Value>) -> Self {
        Statement { text: text.into(), values, repeats: true }
    }

    /// A text with numbers of one request in it, which does not come again.
    pub(super) fn once(text: String) -> Self {
        Statement { text: text.into(), values: Vec::new(), repeats: false }
    }

    /// A look-up by keys, which are `$1` and come before `values`. In the text, `{is}` compares a column with them, and
    /// `{wanted}` is a table of them, each once: `wanted(key)`.
    pub(super) fn by_keys<K: DbKey>(text: &str, keys: &[K], values: Vec<Value>) -> Self {
        let (is, wanted, bound) = match keys {
            [key] => ("= $1", format!("(select $1::{} as key) wanted", K::TYPE), (*key).into()),
            keys => (
                "= any($1)",
                format!("(select distinct unnest($1::{}[])) wanted(key)", K::TYPE),
                K::array(keys),
            ),
        };
        let mut all = Vec::with_capacity(values.len() + 1);
        all.push(bound);
        all.extend(values);
        Statement::new(text.replace("{is}", is).replace("{wanted}", &wanted), all)
    }
}

/// The place of a value in a text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Slot {
    /// A parameter, with this number.
    Bound(usize),
    /// A column of the parent's row, when a list is read for each of several parents.
    Parent,
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Slot::Bound(number) => write!(f, "${number}"),
            Slot::Parent => f.write_str("w.key"),
        }
    }
}

impl Slot {
    /// The fragment with this value in the place of every `?`.
    fn fill(self, fragment: &'static str) -> String {
        fragment.replace('?', &self.to_string())
    }
}

/// A value of the column by whose values a total is kept in parts.
pub(super) trait Part: Into<Value> {
    /// Its type. A part is named by the text form of the value.
    const TYPE: &'static str;
}

impl Part for i16 {
    const TYPE: &'static str = "smallint";
}

impl Part for bool {
    const TYPE: &'static str = "boolean";
}

/// The conditions of a list, as they are put together.
#[derive(Default)]
pub(super) struct Filter {
    values: Vec<Value>,
    all: Vec<String>,
    /// What the condition on the column compares with by which totals are kept in parts, and the column's type.
    part: Option<(Slot, &'static str)>,
    branches: Vec<Branch>,
    under: Option<Under>,
}

/// The parents of lists: one list each, all in one statement.
#[derive(Clone, Debug)]
struct Under {
    /// Their key, for conditions.
    key: Slot,
    /// The number of parents.
    count: usize,
    /// The table of keys, when there is not just one.
    table: Option<String>,
}

impl Filter {
    /// The filter of one list for each of these parents; [`Filter::parent`] must occur in a condition.
    pub(super) fn under<K: DbKey>(parents: &[K]) -> Filter {
        let mut filter = Filter::default();
        let (key, table) = match parents {
            [one] => (filter.bind(*one), None),
            many => {
                let keys = filter.bind(K::array(many));
                let table = format!("unnest({keys}::{}[]) with ordinality w(key, nth)", K::TYPE);
                (Slot::Parent, Some(table))
            }
        };
        filter.under = Some(Under { key, count: parents.len(), table });
        filter
    }

    /// The key of the list's parent.
    pub(super) fn parent(&self) -> Option<Slot> {
        self.under.as_ref().map(|under| under.key)
    }

    /// The number of lists that this filter is for.
    pub(super) fn lists(&self) -> usize {
        self.under.as_ref().map_or(1, |under| under.count)
    }

    /// Do rows begin with the number of their list, from 1? They do where there may be several.
    pub(super) fn numbered(&self) -> bool {
        self.under.as_ref().is_some_and(|under| under.table.is_some())
    }

    pub(super) fn bind(&mut self, value: impl Into<Value>) -> Slot {
        self.values.push(value.into());
        Slot::Bound(self.values.len())
    }

    /// A condition that holds for every row.
    pub(super) fn and(&mut self, fragment: &'static str, value: impl Into<Value>) {
        let slot = self.bind(value);
        self.fill(fragment, slot);
    }

    /// A condition on a value that is bound already.
    pub(super) fn fill(&mut self, fragment: &'static str, slot: Slot) {
        self.all.push(slot.fill(fragment));
    }

    /// The same as [`Filter::and`], where there is a value.
    pub(super) fn and_if<T: Into<Value>>(&mut self, fragment: &'static str, value: Option<T>) {
        if let Some(value) = value {
            self.and(fragment, value);
        }
    }

    /// The same as [`Filter::and_if`], for the column by whose values the list's total is kept in parts.
    pub(super) fn and_part<T: Part>(&mut self, fragment: &'static str, value: Option<T>) {
        if let Some(value) = value {
            let slot = self.bind(value);
            self.fill(fragment, slot);
            self.part = Some((slot, T::TYPE));
        }
    }

    /// A condition without a value.
    pub(super) fn only(&mut self, fragment: &'static str) {
        self.all.push(fragment.to_owned());
    }

    /// One more way to the rows.
    pub(super) fn branch(&mut self, branch: Branch) {
        self.branches.push(branch);
    }

    /// A statement of another shape, with all conditions put together; there are some.
    pub(super) fn statement(self, text: impl FnOnce(&str) -> String) -> Statement {
        Statement::new(text(&self.all.join(" and ")), self.values)
    }

    fn branches(&self) -> Vec<Branch> {
        let mut branches = self.branches.clone();
        if branches.is_empty() {
            branches.push(Branch::default());
        }
        for branch in &mut branches {
            branch.conditions.extend(self.all.iter().cloned());
        }
        branches
    }

    /// The statement of a page, or of one for each parent: rows by list and place.
    pub(super) fn page<O>(mut self, list: &List, request: &PageRequest<O>) -> Statement {
        let branches = self.branches();
        let branches = self.within(branches, list, request);
        let probe = request.probe();
        let limit = Limit { slot: self.bind(probe), usual: probe <= MOST };
        let descending = request.scans_descending();
        let mut scans: Vec<String> =
            branches.iter().map(|branch| branch.first(list, descending, limit)).collect();
        let page = match scans.len() {
            1 => scans.remove(0),
            _ => format!(
                "select * from (({})) merged order by {} limit {}",
                scans.join(") union all ("),
                list.merged_order("", descending),
                limit.slot
            ),
        };
        let order = list.merged_order("p.", descending);
        let (columns, joins) = match &list.with {
            None => ("", ""),
            Some(with) => (&*with.columns, &*with.joins),
        };
        let text = match (self.under.and_then(|under| under.table), &list.with) {
            (None, None) => page,
            (None, Some(_)) => {
                format!("select p.*{columns} from ({page}) p{joins} order by {order}")
            }
            (Some(parents), _) => format!(
                "select w.nth, p.*{columns} from {parents} cross join lateral ({page}) p{joins} order by w.nth, {order}"
            ),
        };
        Statement::new(text, self.values)
    }

    /// The statement that counts what the filter matches, or what it does under each parent, in their order.
    pub(super) fn count(self, list: &List) -> Statement {
        if let Some(text) = self.total(list) {
            return Statement::new(text, self.values);
        }
        let scans: Vec<String> = self.branches().iter().map(|branch| branch.all(list)).collect();
        let count = format!("select count(*) from ({}) counted", scans.join(" union all "));
        let text = match self.under.and_then(|under| under.table) {
            None => count,
            Some(parents) => format!("select ({count}) from {parents} order by w.nth"),
        };
        Statement::new(text, self.values)
    }

    /// The count from a stored total, where there is one: of all rows, or of all of one part.
    fn total(&self, list: &List) -> Option<String> {
        let known = self.branches.is_empty()
            && self.under.is_none()
            && self.all.len() == usize::from(self.part.is_some());
        let name = list.total.filter(|_| known)?;
        let part = match self.part {
            Some((part, of)) => format!("({part}::{of})::text"),
            None => "''".to_owned(),
        };
        Some(format!(
            "select coalesce((select rows from derived.totals where name = '{name}' and part = {part}), 0)"
        ))
    }

    /// The branches within the bounds of a page. A nullable sort column makes two branches of one: rows with a value,
    /// and rows without, which lie below them.
    fn within<O>(
        &mut self,
        branches: Vec<Branch>,
        list: &List,
        request: &PageRequest<O>,
    ) -> Vec<Branch> {
        let above = request.above().map(|key| self.place(key, list));
        let below = request.below().map(|key| self.place(key, list));
        let bounded = |mut branch: Branch, above: Option<Place>, below: Option<Place>| {
            for (place, sign) in [(above, '>'), (below, '<')] {
                if let Some(place) = place {
                    branch.conditions.push(list.beyond(place.sort, sign, place.tie_breaker));
                }
            }
            branch
        };
        let Some(sort) = list.sort.filter(|_| list.nullable) else {
            return branches.into_iter().map(|branch| bounded(branch, above, below)).collect();
        };
        let valued = |place: &Place| place.sort.is_some();
        let bare = |place: &Place| place.sort.is_none();
        // No row with a value lies below a place without, and none without lies above a place with one. Both bounds
        // can rule out both kinds only when the range is empty; one scan is kept then, and finds nothing.
        let with_value = below.is_none_or(|place| valued(&place));
        let without = above.is_none_or(|place| bare(&place));
        let mut within = Vec::with_capacity(branches.len() * 2);
        for branch in branches {
            if !with_value && !without {
                // With both bounds: a value that is bound and used nowhere has no type, and PostgreSQL refuses it.
                let mut branch = bounded(branch, above, below);
                branch.conditions.push("false".to_owned());
                within.push(branch);
                continue;
            }
            if with_value {
                let mut branch =
                    bounded(branch.clone(), above.filter(valued), below.filter(valued));
                branch.conditions.push(format!("{sort} is not null"));
                within.push(branch);
            }
            if without {
                let mut branch = bounded(branch, above.filter(bare), below.filter(bare));
                branch.conditions.push(format!("{sort} is null"));
                within.push(branch);
            }
        }
        within
    }

    fn place(&mut self, key: &Key, list: &List) -> Place {
        let tie_breaker = match &key.tie_breaker {
            TieBreaker::Uuid(key) => self.bind(*key),
            TieBreaker::Bytes(key) => self.bind(key.clone()),
            TieBreaker::Position(key) => self.bind(*key),
        };
        let sort = match (list.sort, list.nullable, key.sort) {
            (None, _, _) | (Some(_), true, None) => None,
            (Some(_), _, sort) => Some(self.bind(sort.unwrap_or(i64::MIN))),
        };
        Place { sort, tie_breaker }
    }
}

/// A key whose parts are bound.
#[derive(Clone, Copy, Debug)]
struct Place {
    sort: Option<Slot>,
    tie_breaker: Slot,
}

#[cfg(test)]
mod tests;
