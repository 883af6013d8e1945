//! The texts of statements.

use super::*;

const LIST: List = List {
    columns: "a, b",
    table: "t",
    sort: Some("a"),
    nullable: false,
    tie_breaker: "b",
    total: None,
    with: None,
};

fn key(sort: Option<i64>) -> Key {
    Key { sort, tie_breaker: TieBreaker::Position(7) }
}

#[test]
fn a_page_is_one_seek_in_the_index() {
    let request = PageRequest { after: Some(key(Some(3))), ..PageRequest::first((), true, 10) };
    let Statement { text, values, .. } = Filter::default().page(&LIST, &request);
    assert_eq!(
        text,
        "select * from (select a, b from t where (a, b) < ($2, $1) order by a desc, b desc limit 501) usual order by a desc, b desc limit $3"
    );
    assert_eq!(values.len(), 3);
}

#[test]
fn reading_backward_turns_the_scan_round() {
    let request = PageRequest { backward: true, ..PageRequest::first((), true, 10) };
    let text = Filter::default().page(&LIST, &request).text;
    assert_eq!(
        text,
        "select * from (select a, b from t order by a asc, b asc limit 501) usual order by a asc, b asc limit $1"
    );
}

#[test]
fn branches_are_limited_each_and_merged() {
    let mut filter = Filter::default();
    filter.and("c = ?", 1_i64);
    let who = filter.bind(2_i64);
    filter.branch(Branch::default().and("x = ?", who));
    filter.branch(Branch::default().and("y = ?", who).and("x <> ?", who));
    let text = filter.page(&LIST, &PageRequest::first((), false, 1000)).text;
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
        Filter::default().page(&list, &request).text
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

#[test]
fn totals_that_are_kept_are_not_counted() {
    let list = List { total: Some("things"), ..LIST };
    assert_eq!(
        Filter::default().count(&list).text,
        "select coalesce((select rows from derived.totals where name = 'things' and part = ''), 0)"
    );
    let part = || {
        let mut filter = Filter::default();
        filter.and_part("c = ?", Some(2_i16));
        filter
    };
    let Statement { text, values, .. } = part().count(&list);
    assert_eq!(
        text,
        "select coalesce((select rows from derived.totals where name = 'things' and part = ($1::smallint)::text), 0)"
    );
    assert_eq!(values.len(), 1);
    for known in [true, false] {
        let mut filter = if known { part() } else { Filter::default() };
        filter.and("d = ?", 1_i64);
        let text = filter.count(&list).text;
        assert!(text.starts_with("select count(*) from (select  from t where "), "{text}");
    }
    assert!(Filter::under(&[crate::log::Position(1)]).count(&list).text.contains("count(*)"));
    assert!(part().count(&LIST).text.contains("count(*)"));
}
