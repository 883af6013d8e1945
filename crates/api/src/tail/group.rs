//! Readers who want the same in the same words: what rows say is found out once for all of them.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use store::Position;

use super::{
    hub::{Hub, Words},
    ring::{Heard, Listener, Ring},
    telling::{self, Answer},
    wanted::{Item, Span, Wanted},
};
use crate::{intake::Ready, schema::Graph};

/// What was told lately, for readers that are a little behind.
const KEPT: usize = 256;
const KEPT_BYTES: usize = 4 << 20;
/// The pulse of `status`.
const PULSE: Duration = Duration::from_secs(1);
/// How often a group that cannot tell tries again before its readers must help themselves.
const TRIES: u32 = 8;

/// What a group tells: all that it has to say about a span of the log.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) from: Position,
    pub(crate) upto: Position,
    pub(crate) answers: Vec<Answer>,
}

impl Told {
    /// About what it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.answers.iter().map(|answer| answer.bytes.len() + 128).sum::<usize>() + 128
    }
}

/// A group. It ends when nobody holds it.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) words: Words,
    pub(crate) wanted: Wanted,
    told: Arc<Ring<Told>>,
}

impl Group {
    pub(crate) fn new(words: Words, wanted: Wanted) -> Group {
        Group { words, wanted, told: Ring::new(KEPT, KEPT_BYTES) }
    }

    pub(crate) fn listen(&self) -> Listener<Told> {
        self.told.listen()
    }

    fn tell(&self, told: Told) {
        let bytes = told.bytes();
        self.told.tell(Arc::new(told), bytes);
    }
}

/// Begins to tell. On the thread of its first reader: batches are made by what waits on one thread.
pub(crate) fn begin(hub: Arc<Hub>, graph: Graph, ready: Ready, group: &Arc<Group>) {
    let spans = hub.spans();
    let group = Arc::downgrade(group);
    actix_web::rt::spawn(async move {
        let is_status = match group.upgrade() {
            Some(group) => group.wanted == Wanted::Status,
            None => return,
        };
        if is_status {
            pulse(&hub, &graph, &ready, &group).await;
        } else {
            relay(&hub, &graph, &ready, &group, spans).await;
        }
    });
}

async fn pulse(hub: &Hub, graph: &Graph, ready: &Ready, group: &Weak<Group>) {
    let mut pulse = tokio::time::interval(PULSE);
    pulse.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pulse.tick().await;
        let answers = telling::tell(graph, ready, vec![Item::Status], hub.answer_bytes()).await;
        let Some(group) = group.upgrade() else { return };
        if let Ok(answers) = answers {
            group.tell(Told { from: Position(0), upto: Position(0), answers });
        }
    }
}

async fn relay(
    hub: &Hub,
    graph: &Graph,
    ready: &Ready,
    group: &Weak<Group>,
    mut spans: Listener<Span>,
) {
    loop {
        // What was missed here is a gap for readers, who fill it.
        let heard = tokio::time::timeout(PULSE, spans.next()).await;
        let Some(group) = group.upgrade() else { return };
        let Ok(Heard::Next(span)) = heard else { continue };
        if group.wanted.of(&span.from) == group.wanted.of(&span.upto) {
            // The span is about other tables.
            continue;
        }
        let told = tell(hub, graph, ready, &group.wanted, &span).await;
        group.tell(told);
    }
}

async fn tell(hub: &Hub, graph: &Graph, ready: &Ready, wanted: &Wanted, span: &Span) -> Told {
    let (from, upto) = (wanted.of(&span.from), wanted.of(&span.upto));
    if wanted.is_answered_by(span) {
        for attempt in 0..TRIES {
            match telling::tell(graph, ready, wanted.pick(span), hub.answer_bytes()).await {
                Ok(answers) => return Told { from, upto, answers },
                Err(_) => tokio::time::sleep(Duration::from_millis(100) * (attempt + 1)).await,
            }
        }
    }
    // A gap, which readers fill by themselves.
    Told { from: upto, upto, answers: Vec::new() }
}
