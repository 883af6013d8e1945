//! Statements put together from fragments that stand in this program; a reader's values only ever become parameters.
//! Each combination of filters is one text, and so one prepared statement.

use std::fmt::Write as _;

use tokio_postgres::types::ToSql;

use super::page::{Key, PageRequest, Tie};

pub(super) type Value = Box<dyn ToSql + Sync + Send>;

/// The number of a bound value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot(usize);

impl Slot {
    /// The fragment with this value in the place of every `?`.
    fn fill(self, fragment: &'static str) -> String {
        fragment.replace('?', &format!("${}", self.0))
    }
}

/// Where the rows of a list come from.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    /// The columns that rows are read from, the sort column and the key among them.
    pub(super) columns: &'static str,
    /// The table.
    pub(super) table: &'static str,
    /// What it is sorted by before the key. With several tables, this and the key say of which, because only columns of
    /// one table can be sought in its index together.
    pub(super) sort: Option<&'static str>,
    /// May the sort column be null? Rows without a value then count as below all others.
    pub(super) nullable: bool,
    /// The primary key.
    pub(super) tie: &'static str,
    /// Added to the rows of a page once they are known: columns, and the join they come from (`p` is the page).
    pub(super) with: Option<(&'static str, &'static str)>,
}

/// The column without its table.
fn bare(column: &'static str) -> &'static str {
    column.rsplit_once('.').map_or(column, |(_, name)| name)
}

impl List {
    /// The order of a scan.
    fn order(&self, descending: bool) -> String {
        let direction = if descending { "desc" } else { "asc" };
        match self.sort {
            Some(sort) => format!("{sort} {direction}, {} {direction}", self.tie),
            None => format!("{} {direction}", self.tie),
        }
    }

    /// The order of rows that scans have given. A scan has rows with a value or rows without, and orders them as its
    /// index does; where both meet, rows without are the lowest.
    fn merged_order(&self, prefix: &str, descending: bool) -> String {
        let (direction, nulls) = match (descending, self.nullable) {
            (true, true) => ("desc", " nulls last"),
            (false, true) => ("asc", " nulls first"),
            (true, false) => ("desc", ""),
            (false, false) => ("asc", ""),
        };
        let tie = bare(self.tie);
        match self.sort.map(bare) {
            Some(sort) => {
                format!("{prefix}{sort} {direction}{nulls}, {prefix}{tie} {direction}")
            }
            None => format!("{prefix}{tie} {direction}"),
        }
    }

    /// Row comparison is what a composite index can seek by.
    fn beyond(&self, sort: Option<Slot>, sign: char, tie: Slot) -> String {
        match (self.sort, sort) {
            (Some(column), Some(sort)) => {
                format!("({column}, {}) {sign} (${}, ${})", self.tie, sort.0, tie.0)
            }
            _ => format!("{} {sign} ${}", self.tie, tie.0),
        }
    }
}

/// One way to the rows: a scan of its own, in an index of its own. Several are merged; no row may come by two of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Branch {
    conditions: Vec<String>,
    /// One scan for each row of this.
    each: Option<String>,
}

impl Branch {
    pub(super) fn and(mut self, fragment: &'static str, slot: Slot) -> Self {
        self.conditions.push(slot.fill(fragment));
        self
    }

    /// One scan for each row of `rows`, to which `condition` ties it.
    pub(super) fn each(mut self, rows: &'static str, slot: Slot, condition: &'static str) -> Self {
        self.each = Some(slot.fill(rows));
        self.conditions.push(condition.to_owned());
        self
    }

    fn scan(&self, list: &List, columns: &str, tail: &str) -> String {
        let mut text = format!("select {columns} from {}", list.table);
        for (nth, condition) in self.conditions.iter().enumerate() {
            let _ = write!(text, " {} {condition}", if nth == 0 { "where" } else { "and" });
        }
        text.push_str(tail);
        match &self.each {
            None => text,
            Some(rows) => {
                let columns = if columns.is_empty() { "" } else { "one.*" };
                format!("select {columns} from {rows} cross join lateral ({text}) one{tail}")
            }
        }
    }
}

/// A filter in the making.
#[derive(Default)]
pub(super) struct Filter {
    values: Vec<Value>,
    all: Vec<String>,
    branches: Vec<Branch>,
    nothing: bool,
}

impl Filter {
    pub(super) fn bind(&mut self, value: impl ToSql + Sync + Send + 'static) -> Slot {
        self.values.push(Box::new(value));
        Slot(self.values.len())
    }

    /// A condition that holds for every row.
    pub(super) fn and(
        &mut self,
        fragment: &'static str,
        value: impl ToSql + Sync + Send + 'static,
    ) {
        self.and_slot(fragment, value);
    }

    /// The same; the value can be used again.
    pub(super) fn and_slot(
        &mut self,
        fragment: &'static str,
        value: impl ToSql + Sync + Send + 'static,
    ) -> Slot {
        let slot = self.bind(value);
        self.fill(fragment, slot);
        slot
    }

    /// A condition on a value that is bound already.
    pub(super) fn fill(&mut self, fragment: &'static str, slot: Slot) {
        self.all.push(slot.fill(fragment));
    }

    /// The same as [`Filter::and`], where there is a value.
    pub(super) fn and_if<T: ToSql + Sync + Send + 'static>(
        &mut self,
        fragment: &'static str,
        value: Option<T>,
    ) {
        if let Some(value) = value {
            self.and(fragment, value);
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

    /// Nothing can match: no statement is needed.
    pub(super) fn nothing(&mut self) {
        self.nothing = true;
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.nothing
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

    /// The statement of a page.
    pub(super) fn page<O>(mut self, list: &List, request: &PageRequest<O>) -> (String, Vec<Value>) {
        let branches = self.branches();
        let branches = self.within(branches, list, request);
        let limit = self.bind(request.probe());
        let descending = request.scans_descending();
        let tail = format!(" order by {} limit ${}", list.order(descending), limit.0);
        let mut scans: Vec<String> =
            branches.iter().map(|branch| branch.scan(list, list.columns, &tail)).collect();
        let page = match scans.len() {
            1 => scans.remove(0),
            _ => format!(
                "select * from (({})) merged order by {} limit ${}",
                scans.join(") union all ("),
                list.merged_order("", descending),
                limit.0
            ),
        };
        let text = match list.with {
            None => page,
            Some((columns, join)) => format!(
                "select p.*, {columns} from ({page}) p {join} order by {}",
                list.merged_order("p.", descending)
            ),
        };
        (text, self.values)
    }

    /// The statement that counts what the filter matches.
    pub(super) fn count(self, list: &List) -> (String, Vec<Value>) {
        let scans: Vec<String> =
            self.branches().iter().map(|branch| branch.scan(list, "", "")).collect();
        (format!("select count(*) from ({}) counted", scans.join(" union all ")), self.values)
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
                    branch.conditions.push(list.beyond(place.sort, sign, place.tie));
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
            if with_value || !without {
                let mut branch =
                    bounded(branch.clone(), above.filter(valued), below.filter(valued));
                branch.conditions.push(format!("{sort} is not null"));
                if !with_value {
                    branch.conditions.push("false".to_owned());
                }
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
        let tie = match &key.tie {
            Tie::Uuid(key) => self.bind(*key),
            Tie::Bytes(key) => self.bind(key.clone()),
            Tie::Position(key) => self.bind(*key),
        };
        let sort = match (list.sort, list.nullable, key.sort) {
            (None, _, _) | (Some(_), true, None) => None,
            (Some(_), _, sort) => Some(self.bind(sort.unwrap_or(i64::MIN))),
        };
        Place { sort, tie }
    }
}

/// A key whose parts are bound.
#[derive(Clone, Copy, Debug)]
struct Place {
    sort: Option<Slot>,
    tie: Slot,
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: List = List {
        columns: "a, b",
        table: "t",
        sort: Some("a"),
        nullable: false,
        tie: "b",
        with: None,
    };

    fn key(sort: Option<i64>) -> Key {
        Key { sort, tie: Tie::Position(7) }
    }

    #[test]
    fn a_page_is_one_seek_in_the_index() {
        let request = PageRequest { after: Some(key(Some(3))), ..PageRequest::first((), true, 10) };
        let (text, values) = Filter::default().page(&LIST, &request);
        assert_eq!(
            text,
            "select a, b from t where (a, b) < ($2, $1) order by a desc, b desc limit $3"
        );
        assert_eq!(values.len(), 3);
    }

    #[test]
    fn reading_backward_turns_the_scan_round() {
        let request = PageRequest { backward: true, ..PageRequest::first((), true, 10) };
        let (text, _) = Filter::default().page(&LIST, &request);
        assert_eq!(text, "select a, b from t order by a asc, b asc limit $1");
    }

    #[test]
    fn branches_are_limited_each_and_merged() {
        let mut filter = Filter::default();
        filter.and("c = ?", 1_i64);
        let who = filter.bind(2_i64);
        filter.branch(Branch::default().and("x = ?", who));
        filter.branch(Branch::default().and("y = ?", who).and("x <> ?", who));
        let (text, _) = filter.page(&LIST, &PageRequest::first((), false, 1));
        assert_eq!(
            text,
            "select * from ((select a, b from t where x = $2 and c = $1 order by a asc, b asc limit $3) union all \
             (select a, b from t where y = $2 and x <> $2 and c = $1 order by a asc, b asc limit $3)) merged \
             order by a asc, b asc limit $3"
        );
    }

    #[test]
    fn rows_without_a_value_lie_below_all_others() {
        let list = List { nullable: true, ..LIST };
        let page = |after, descending| {
            let request = PageRequest { after, ..PageRequest::first((), descending, 1) };
            Filter::default().page(&list, &request).0
        };
        let text = page(Some(key(Some(3))), true);
        assert!(text.contains("where (a, b) < ($2, $1) and a is not null"), "{text}");
        assert!(text.contains("where a is null"), "{text}");
        let text = page(Some(key(None)), true);
        assert!(text.contains("where b < $1 and a is null"), "{text}");
        assert!(!text.contains("a is not null"), "{text}");
        let text = page(Some(key(Some(3))), false);
        assert!(!text.contains("a is null"), "{text}");
    }
}
