//! Makes plans of what readers can be asked, and notes what is wrong with them.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Debug,
};

use super::{
    super::super::*,
    plan,
    questions::Filtered,
    sifts::{COUNTS, SIFTS},
};
use crate::{database::Store, error::Result};

/// Rows of a page.
pub(super) const LIMIT: u32 = 50;
/// Rows looked at for each row of a page and each scan, at most, where rows are sought: itself, those that hang on it,
/// and what is sifted by the way.
const SEEK: u64 = 10;

pub(super) struct Readers {
    pub(super) store: Store,
    pub(super) big: HashSet<String>,
    pub(super) asked: BTreeSet<&'static str>,
    pub(super) planned: HashSet<String>,
    /// Which of [`SIFTS`] were met.
    pub(super) sifting: BTreeSet<&'static str>,
    /// Which of [`COUNTS`] read a table from end to end.
    pub(super) counting: BTreeSet<&'static str>,
    /// Questions that read a big table from end to end, and which.
    pub(super) whole: BTreeMap<String, String>,
    /// Questions that look at more rows than they seek, and at how many.
    pub(super) sifts: BTreeMap<String, u64>,
}

impl Readers {
    /// Readers by these connections, of tables of which these are big.
    pub(super) fn of(store: Store, big: HashSet<String>) -> Readers {
        Readers {
            store,
            big,
            asked: BTreeSet::new(),
            planned: HashSet::new(),
            sifting: BTreeSet::new(),
            counting: BTreeSet::new(),
            whole: BTreeMap::new(),
            sifts: BTreeMap::new(),
        }
    }

    /// Makes the plans of what is asked, in a transaction and in a single-statement read. `ways` says how many scans may be needed; none
    /// says that only the plan is of interest.
    pub(super) async fn ask<T>(
        &mut self,
        method: &'static str,
        words: &str,
        ways: Option<u64>,
        ask: impl AsyncFn(&Snapshot) -> Result<T>,
    ) {
        self.asked.insert(method);
        let question = format!("{method} {words}");
        let known = |list: &[&'static str]| {
            let is = |known: &str| {
                let rest = question.strip_prefix(known);
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            };
            list.iter().copied().find(|known| is(known))
        };
        let (sifts, counts) = (known(&SIFTS), known(&COUNTS));
        self.sifting.extend(sifts);
        for single in [false, true] {
            let at = match single {
                true => self.store.single_statement().await,
                false => self.store.snapshot().await,
            };
            let at = at.unwrap();
            plan::listen();
            let answer = ask(&at).await;
            let recorded = plan::recorded();
            at.close().await.unwrap();
            let Some(recorded) = recorded.first() else {
                // The snapshot knows already.
                assert!(answer.is_ok(), "{question}");
                continue;
            };
            let execute = ways.filter(|_| !single && sifts.is_none());
            if !self.planned.insert(recorded.text.clone()) && execute.is_none() {
                continue;
            }
            let plan = plan::plan(&self.store, recorded, execute.is_some()).await;
            if method != "messages_at"
                && let Some(relation) =
                    plan.relations.iter().find(|name| name.starts_with("envelopes_"))
            {
                panic!("{question} reads the log ({relation}): {}", recorded.text);
            }
            for relation in plan.whole.iter().filter(|relation| self.big.contains(*relation)) {
                if let Some(counts) = counts {
                    self.counting.insert(counts);
                    continue;
                }
                let reading = format!("{relation}: {}", recorded.text);
                self.whole.entry(question.clone()).or_insert(reading);
            }
            if execute.is_some_and(|ways| plan.touched > ways * SEEK * u64::from(LIMIT + 1)) {
                let most = self.sifts.entry(question.clone()).or_default();
                *most = plan.touched.max(*most);
            }
        }
    }

    /// Every page of a list: each order, in both directions, from the beginning and from a place.
    pub(super) async fn pages<F, O: Copy + Debug, T: Keyed<O>, R>(
        &mut self,
        method: &'static str,
        filters: &[Filtered<F>],
        parents: u64,
        orders: &[O],
        first: impl AsyncFn(&Snapshot, &PageRequest<O>) -> Result<Page<T>>,
        ask: impl AsyncFn(&Snapshot, &F, &PageRequest<O>) -> Result<R>,
    ) {
        for order in orders {
            let at = self.store.snapshot().await.unwrap();
            let rows = first(&at, &PageRequest::first(*order, true, 500)).await.unwrap().rows;
            at.close().await.unwrap();
            let place = Some(rows.last().unwrap().key(*order));
            for Filtered { filter, words, ways, pair } in filters {
                for descending in [true, false] {
                    for (after, before) in [
                        (None, None),
                        (place.clone(), None),
                        (None, place.clone()),
                        (place.clone(), place.clone()),
                    ] {
                        // The first page and one behind a place, of either direction one: `before` bounds the other side.
                        let executed = before.is_none() && descending == after.is_none();
                        let ways = (!pair && executed).then_some(ways * parents);
                        let words = format!("{order:?} {words}");
                        let request = PageRequest {
                            order: *order,
                            descending,
                            backward: after.is_none() && before.is_some(),
                            after,
                            before,
                            limit: LIMIT,
                        };
                        self.ask(method, &words, ways, async |at| ask(at, filter, &request).await)
                            .await;
                    }
                }
            }
        }
    }

    pub(super) async fn counts<F, R>(
        &mut self,
        method: &'static str,
        filters: &[Filtered<F>],
        ask: impl AsyncFn(&Snapshot, &F) -> Result<R>,
    ) {
        for Filtered { filter, words, .. } in filters {
            self.ask(method, words, None, async |at| ask(at, filter).await).await;
        }
    }
}
