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
        let mut behind =
            self.pages.range((words, Position(at.saturating_add(1)))..=(words, last));
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
            // Being rebuilt: the tables are not yet there again.
            return Err(Passing);
        }
        let told = Arc::new(Told { from, upto, answers });
        self.past.shelf().keep(told.clone(), words);
        Ok(told)
    }
}
