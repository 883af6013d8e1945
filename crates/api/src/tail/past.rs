//! The past, for those who come back. Whoever lost the same server comes back at about the same place: a page is worked
//! out once for all who want the same in the same words, and everybody takes from it what is behind his own position.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use store::Position;
use tokio::sync::{Semaphore, watch};

use super::{
    group::{Group, Told},
    hub::Words,
    telling,
};
use crate::{
    intake::Ready,
    schema::{Graph, Passing},
};

/// Pages that are kept, of all groups together, and their bytes.
const KEPT: usize = 1_024;
const KEPT_BYTES: usize = 32 << 20;
/// For how long, so that what a page says about the present is not much older.
const FRESH: Duration = Duration::from_secs(30);
/// Pages that are worked out at once. Each holds a connection; the others are for those who ask.
const AT_ONCE: usize = 2;
/// Pages that begin before a position and are looked at for it. One is the rule: pages overlap only where their readers
/// began side by side.
const NEAR: usize = 8;

/// Where a page begins: behind this position, in these words.
type Place = (Words, Position);
type Page = Result<Arc<Told>, Passing>;

/// Pages of the past.
#[derive(Debug)]
pub(crate) struct Past {
    shelf: Mutex<Shelf>,
    room: Semaphore,
    answer_bytes: usize,
    #[cfg(test)]
    worked_out: std::sync::atomic::AtomicU64,
}

#[derive(Debug, Default)]
struct Shelf {
    pages: BTreeMap<Place, Arc<Told>>,
    /// The same in the order in which they came, with their bytes.
    oldest: VecDeque<(Instant, Place, usize)>,
    bytes: usize,
    under_way: BTreeMap<Place, watch::Receiver<Option<Page>>>,
}

impl Past {
    /// For answers of at most so many bytes.
    pub(crate) fn new(answer_bytes: usize) -> Arc<Past> {
        Arc::new(Past {
            shelf: Mutex::default(),
            room: Semaphore::new(AT_ONCE),
            answer_bytes,
            #[cfg(test)]
            worked_out: Default::default(),
        })
    }

    /// A page that speaks for what comes next behind a position: it begins there or before, and ends beyond.
    pub(crate) async fn page(
        self: &Arc<Self>,
        graph: &Graph,
        ready: &Ready,
        group: &Arc<Group>,
        at: Position,
    ) -> Page {
        let place = (group.words, at);
        loop {
            let mut waiting = {
                let mut shelf = self.shelf();
                if let Some(told) = shelf.find(place) {
                    return Ok(told);
                }
                match shelf.under_way(place) {
                    Some(waiting) => waiting,
                    None => {
                        let (tell, waiting) = watch::channel(None);
                        shelf.under_way.insert(place, waiting.clone());
                        let work = Work { past: self.clone(), place, page: Err(Passing), tell };
                        // On its own: a reader who goes or stands still must not keep others waiting, nor a connection.
                        actix_web::rt::spawn(work.run(graph.clone(), ready.clone(), group.clone()));
                        waiting
                    }
                }
            };
            let page = waiting.wait_for(Option::is_some).await.map(|page| page.clone());
            let told = page.ok().flatten().ok_or(Passing)??;
            // Or it ended early, before this position.
            if told.upto > at {
                return Ok(told);
            }
        }
    }

    /// Lets go what is no longer fresh.
    pub(crate) fn tidy(&self) {
        self.shelf().tidy(Instant::now());
    }

    /// How many pages were read from the database so far.
    #[cfg(test)]
    pub(crate) fn worked_out(&self) -> u64 {
        self.worked_out.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn find(&self, place: Place) -> Option<Arc<Told>> {
        let (words, at) = place;
        let before = self.pages.range((words, Position(i64::MIN))..=place).rev().take(NEAR);
        before.map(|(_, told)| told).find(|told| told.upto > at).cloned()
    }

    /// A page that is worked out right now and will speak for this place, unless it fails: one that begins less than a
    /// page of positions before, because each row has a position of its own.
    fn under_way(&self, place: Place) -> Option<watch::Receiver<Option<Page>>> {
        let (words, at) = place;
        let from = Position(at.0.saturating_sub(i64::from(telling::PAGE) - 1));
        self.under_way.range((words, from)..=place).next_back().map(|(_, page)| page.clone())
    }

    /// Where the next page begins that is there already.
    fn next(&self, place: Place) -> Position {
        let (words, Position(at)) = place;
        let last = Position(i64::MAX);
        let mut behind = self.pages.range((words, Position(at.saturating_add(1)))..=(words, last));
        behind.next().map_or(last, |((_, from), _)| *from)
    }

    fn keep(&mut self, told: Arc<Told>, words: Words) {
        let (bytes, now) = (told.bytes(), Instant::now());
        if bytes <= KEPT_BYTES {
            let place = (words, told.from);
            self.pages.insert(place, told);
            self.oldest.push_back((now, place, bytes));
            self.bytes += bytes;
        }
        self.tidy(now);
    }

    fn tidy(&mut self, now: Instant) {
        while let Some((came, place, bytes)) = self.oldest.front().copied() {
            let much = self.oldest.len() > KEPT || self.bytes > KEPT_BYTES;
            if !much && now.duration_since(came) < FRESH {
                return;
            }
            self.oldest.pop_front();
            self.pages.remove(&place);
            self.bytes -= bytes;
        }
    }
}

/// A page that is worked out. However that ends, nobody waits for it any longer then.
struct Work {
    past: Arc<Past>,
    place: Place,
    page: Page,
    tell: watch::Sender<Option<Page>>,
}

impl Drop for Work {
    fn drop(&mut self) {
        // First gone, then told: who must ask again does not meet it again.
        self.past.shelf().under_way.remove(&self.place);
        self.tell.send_replace(Some(self.page.clone()));
    }
}

impl Work {
    async fn run(mut self, graph: Graph, ready: Ready, group: Arc<Group>) {
        self.page = self.work_out(&graph, &ready, &group).await;
    }

    async fn work_out(&self, graph: &Graph, ready: &Ready, group: &Group) -> Page {
        let (words, from) = self.place;
        let _room = self.past.room.acquire().await.map_err(|_| Passing)?;
        let before = {
            let shelf = self.past.shelf();
            // Somebody else's page may have come this far in the meantime.
            if let Some(told) = shelf.find(self.place) {
                return Ok(told);
            }
            shelf.next(self.place)
        };
        #[cfg(test)]
        self.past.worked_out.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        metrics::counter!("xmtp_indexer_replayed_pages_total").increment(1);
        let limit = self.past.answer_bytes;
        let (answers, upto) =
            telling::replay(graph, ready, &group.wanted, from, before, limit).await?;
        if upto <= from {
            // The table does not reach there yet.
            return Err(Passing);
        }
        let told = Arc::new(Told { from, upto, answers });
        self.past.shelf().keep(told.clone(), words);
        Ok(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(from: i64, upto: i64, bytes: usize) -> Arc<Told> {
        let answer = telling::Answer {
            position: Some(Position(upto)),
            cursor: None,
            bytes: vec![0; bytes].into(),
        };
        Arc::new(Told { from: Position(from), upto: Position(upto), answers: vec![answer] })
    }

    #[test]
    fn a_page_speaks_for_what_is_behind_its_beginning_up_to_its_end() {
        let (mut shelf, ours, others) = (Shelf::default(), [1; 32], [2; 32]);
        for (from, upto) in [(100, 200), (200, 230), (50, 160), (400, 500)] {
            shelf.keep(told(from, upto, 10), ours);
        }
        let find = |at: i64| shelf.find((ours, Position(at))).map(|told| told.from.0);
        let found: Vec<_> = [49, 50, 99, 100, 199, 200, 229, 230, 400, 500].map(find).into();
        let wanted = [None, Some(50), Some(50), Some(100), Some(100), Some(200), Some(200), None];
        assert_eq!(found, [&wanted[..], &[Some(400), None]].concat());
        assert!(shelf.find((others, Position(100))).is_none());
        let next = [0, 230, 400].map(|at| shelf.next((ours, Position(at))).0);
        assert_eq!(next, [50, 400, i64::MAX]);
        assert_eq!(shelf.next((others, Position(0))).0, i64::MAX);
        shelf.tidy(Instant::now() + FRESH);
        assert!(shelf.pages.is_empty() && shelf.oldest.is_empty() && shelf.bytes == 0);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut shelf = Shelf::default();
        for nth in 0..5_000 {
            shelf.keep(told(nth, nth + 1, usize::try_from(nth).unwrap() * 100), [0; 32]);
            assert!(shelf.bytes <= KEPT_BYTES && shelf.pages.len() <= KEPT, "{nth}");
            assert_eq!(shelf.pages.len(), shelf.oldest.len());
        }
        assert!(shelf.find(([0; 32], Position(4_999))).is_some(), "the newest is there");
        assert!(shelf.find(([0; 32], Position(0))).is_none());
        shelf.keep(told(9_000, 9_001, KEPT_BYTES), [0; 32]);
        assert!(shelf.find(([0; 32], Position(9_000))).is_none(), "larger than there is room");
    }

    #[test]
    fn who_stands_less_than_a_page_behind_one_that_is_worked_out_waits_for_it() {
        let (mut shelf, (_tell, page)) = (Shelf::default(), watch::channel(None));
        shelf.under_way.insert(([1; 32], Position(1_000)), page);
        let waits = |words: u8, at: i64| shelf.under_way(([words; 32], Position(at))).is_some();
        let last = 1_000 + i64::from(telling::PAGE) - 1;
        assert!(waits(1, 1_000) && waits(1, last));
        assert!(!waits(1, 999) && !waits(1, last + 1) && !waits(2, 1_000));
    }
}
