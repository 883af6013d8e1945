//! The one who follows the log.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use store::{Position, Store, read};
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
        let mut at: Option<Position> = None;
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
    async fn step(&self, at: &mut Option<Position>) -> store::Result<Duration> {
        let head = self.store.heads().await?.serving;
        // Asked after the head was read: who came before is told, who comes later reads a later head by itself.
        let needs = self.needs();
        let from = *at.get_or_insert(head);
        let Some(topics) = needs else {
            *at = Some(from.max(head));
            return Ok(IDLE);
        };
        if head > from {
            let span = self.span(from, topics).await?;
            *at = Some(span.upto);
            let behind = span.upto < head;
            let rows = span.envelopes.len()
                + span.invites.len()
                + span.contact_bundles.len()
                + span.welcomes.len();
            metrics::counter!("xmtp_indexer_tail_envelopes_total")
                .increment(span.envelopes.len().try_into().unwrap_or(0));
            self.spans.tell(Arc::new(span), rows * ROW);
            if behind {
                return Ok(Duration::ZERO);
            }
        }
        Ok(POLL)
    }

    async fn span(&self, from: Position, topics: bool) -> store::Result<Span> {
        let snapshot = self.store.snapshot().await?;
        let span = read_span(&snapshot, from, topics).await;
        snapshot.close().await?;
        span
    }
}

async fn read_span(snapshot: &read::Snapshot, from: Position, topics: bool) -> store::Result<Span> {
    let head = snapshot.head().max(from);
    let page = snapshot.envelopes_since(&read::EnvelopeFilter::default(), from, head, ROWS).await?;
    let last = page.rows.last().map(|row| row.position);
    let upto = last.filter(|_| page.has_more).unwrap_or(head);
    let (invites, bundles) = (read::InviteFilter::default(), read::ContactBundleFilter::default());
    let welcomes = read::WelcomeFilter::default();
    let (invites, contact_bundles, welcomes) = tokio::try_join!(
        snapshot.invites_since(&invites, from, upto, ROWS),
        snapshot.contact_bundles_since(&bundles, from, upto, ROWS),
        snapshot.welcomes_since(&welcomes, from, upto, ROWS),
    )?;
    let mut known = HashMap::new();
    if topics {
        let mut keys: Vec<_> = page.rows.iter().map(|row| row.topic_key).collect();
        keys.sort_unstable();
        keys.dedup();
        known = snapshot
            .topics_by_key(&keys)
            .await?
            .into_iter()
            .map(|topic| (topic.key, topic))
            .collect();
    }
    let envelopes = page.rows.into_iter().map(|row| {
        let topic = known.get(&row.topic_key).cloned();
        (row, topic)
    });
    Ok(Span {
        from,
        upto,
        envelopes: envelopes.collect(),
        invites: invites.rows,
        contact_bundles: contact_bundles.rows,
        welcomes: welcomes.rows,
        topics,
    })
}
