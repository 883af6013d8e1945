//! The one who follows the log.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use store::{
    Position, Store,
    read::{self, Followed, Page},
};
use tokio_util::sync::CancellationToken;

use super::{
    group::{self, Group},
    past::Past,
    ring::{Listener, Ring},
    wanted::{Span, Wanted},
};
use crate::{intake::Ready, schema::Graph};

/// How often the head is looked at while somebody follows.
const POLL: Duration = Duration::from_millis(30);
/// And while nobody does.
const IDLE: Duration = Duration::from_millis(250);
/// After a failure.
const TROUBLE: Duration = Duration::from_millis(500);
/// Rows of one span.
const ROWS: u32 = 500;
/// Spans that groups may be behind. They hold rows without messages, a few hundred bytes each.
const SPANS: usize = 64;
const SPAN_BYTES: usize = 16 << 20;
/// About what a row takes.
const ROW: usize = 512;

/// Who wants the same in the same words.
pub(crate) type Words = [u8; 32];

/// Follows the log, once for everybody.
#[derive(Debug)]
pub(crate) struct Hub {
    store: Store,
    spans: Arc<Ring<Span>>,
    groups: Mutex<HashMap<Words, Weak<Group>>>,
    pub(crate) past: Arc<Past>,
    answer_bytes: usize,
}

impl Hub {
    pub(crate) fn new(store: Store, answer_bytes: usize) -> Arc<Hub> {
        let spans = Ring::new(SPANS, SPAN_BYTES);
        let past = Past::new(answer_bytes);
        Arc::new(Hub { store, spans, groups: Mutex::default(), past, answer_bytes })
    }

    pub(crate) fn answer_bytes(&self) -> usize {
        self.answer_bytes
    }

    pub(crate) fn spans(&self) -> Listener<Span> {
        self.spans.listen()
    }

    /// The group of those who want this in these words. It lives as long as somebody holds it.
    pub(crate) fn join(
        self: &Arc<Self>,
        graph: &Graph,
        ready: &Ready,
        wanted: &Wanted,
    ) -> Arc<Group> {
        let words = ready.words();
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.get(&words).and_then(Weak::upgrade) {
            return group;
        }
        groups.retain(|_, group| group.strong_count() > 0);
        let group = Arc::new(Group::new(words, wanted.clone()));
        groups.insert(words, Arc::downgrade(&group));
        group::begin(self.clone(), graph.clone(), ready.clone(), &group);
        group
    }

    /// Does anybody follow, and must topics be looked up for them?
    fn needs(&self) -> Option<bool> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let live: Vec<Arc<Group>> = groups.values().filter_map(Weak::upgrade).collect();
        let needs = live.iter().any(|group| group.wanted.needs_topics());
        live.iter().any(|group| group.wanted != Wanted::Status).then_some(needs)
    }

    /// Follows the log until told to stop.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) {
        stop.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&self) {
        let mut at: Option<Followed> = None;
        loop {
            let rest = match self.step(&mut at).await {
                Ok(rest) => rest,
                Err(error) => {
                    tracing::warn!(%error, "live readers wait: the head cannot be read");
                    TROUBLE
                }
            };
            self.past.tidy();
            tokio::time::sleep(rest).await;
        }
    }

    /// Looks once, and tells what is new.
    async fn step(&self, at: &mut Option<Followed>) -> store::Result<Duration> {
        let (_, there) = self.store.followed().await?;
        // Asked after the tables were looked at: groups that exist by now are told what comes next; the readers of later
        // ones look at the tables themselves.
        let needs = self.needs();
        let from = *at.get_or_insert(there);
        let Some(topics) = needs else {
            *at = Some(from.max(there));
            return Ok(IDLE);
        };
        if there.is_beyond(from) {
            let span = self.span(from, topics).await?;
            let upto = span.upto;
            *at = Some(upto);
            let rows = span.envelopes.len()
                + span.invites.len()
                + span.contact_bundles.len()
                + span.welcomes.len();
            metrics::counter!("xmtp_indexer_tail_envelopes_total")
                .increment(span.envelopes.len().try_into().unwrap_or(0));
            self.spans.tell(Arc::new(span), rows * ROW);
            if there.is_beyond(upto) {
                return Ok(Duration::ZERO);
            }
        }
        Ok(POLL)
    }

    async fn span(&self, from: Followed, topics: bool) -> store::Result<Span> {
        let snapshot = self.store.snapshot().await?;
        let span = read_span(&snapshot, from, topics).await;
        snapshot.close().await?;
        span
    }
}

/// The rows of a page, and the position up to which they are all there are.
fn cut<T>(page: Page<T>, upto: Position, position: impl Fn(&T) -> Position) -> (Vec<T>, Position) {
    let last = page.rows.last().map(position).filter(|_| page.has_more);
    (page.rows, last.unwrap_or(upto))
}

async fn read_span(snapshot: &read::Snapshot, from: Followed, topics: bool) -> store::Result<Span> {
    let mut upto = snapshot.followed().await?.max(from);
    macro_rules! rows {
        ($list:ident, $since:ident, $position:expr) => {{
            let (after, end) = (from.$list, upto.$list);
            let page = match end > after {
                true => snapshot.$since(&Default::default(), after, end, ROWS).await?,
                false => Page::empty(),
            };
            let (rows, end) = cut(page, end, $position);
            upto.$list = end;
            rows
        }};
    }
    let envelopes = rows!(envelopes, envelopes_since, |row| row.position);
    let invites = rows!(invites, invites_since, read::Invite::position);
    let contact_bundles =
        rows!(contact_bundles, contact_bundles_since, read::ContactBundle::position);
    let welcomes = rows!(welcomes, welcomes_since, |row| row.position);
    let mut known = HashMap::new();
    if topics && !envelopes.is_empty() {
        let mut keys: Vec<_> = envelopes.iter().map(|row| row.topic_key).collect();
        keys.sort_unstable();
        keys.dedup();
        let found = snapshot.topics_by_key(&keys).await?;
        known = found.into_iter().map(|topic| (topic.key, topic)).collect();
    }
    let envelopes = envelopes.into_iter().map(|row| {
        let topic = known.get(&row.topic_key).cloned();
        (row, topic)
    });
    Ok(Span {
        from,
        upto,
        envelopes: envelopes.collect(),
        invites,
        contact_bundles,
        welcomes,
        topics,
    })
}
