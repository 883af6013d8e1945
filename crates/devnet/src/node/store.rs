//! What the node remembers: per topic, in the order of `Query`.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::ops::Bound;

use bytes::Bytes;
use wire::Envelope;

/// The place of an envelope among those of its topic, and among those of any set of topics.
pub(crate) type Place = (u64, [u8; 32]);

type Rows = BTreeMap<Place, Bytes>;

/// All envelopes, by topic and place. Each topic's name is held once, however many envelopes bear
/// it.
#[derive(Default)]
pub(crate) struct Store {
    topics: HashMap<Bytes, Rows>,
    len: usize,
}

impl Store {
    /// False if an envelope of this topic, time and content was there already.
    pub(crate) fn insert(&mut self, envelope: &Envelope) -> bool {
        let place = place(envelope);
        // Looked up before inserting: nearly every envelope's topic is known.
        let rows = match self.topics.get_mut(&envelope.topic) {
            Some(rows) => rows,
            None => self.topics.entry(envelope.topic.clone()).or_default(),
        };
        let new = match rows.entry(place) {
            std::collections::btree_map::Entry::Occupied(_) => false,
            std::collections::btree_map::Entry::Vacant(row) => {
                row.insert(envelope.message.clone());
                true
            }
        };
        self.len += usize::from(new);
        new
    }

    pub(crate) fn remove(&mut self, envelope: &Envelope) {
        let Some(rows) = self.topics.get_mut(&envelope.topic) else { return };
        if rows.remove(&place(envelope)).is_some() {
            self.len -= 1;
        }
        if rows.is_empty() {
            self.topics.remove(&envelope.topic);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The envelopes of one topic between two places, in order; the reader turns it around with
    /// `rev`. Empty if the bounds exclude everything.
    pub(crate) fn range(
        &self,
        topic: &[u8],
        from: Bound<Place>,
        to: Bound<Place>,
    ) -> Option<(&Bytes, std::collections::btree_map::Range<'_, Place, Bytes>)> {
        // `BTreeMap::range` panics on bounds that cross.
        if let (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) =
            (&from, &to)
        {
            let both_exclude = matches!((&from, &to), (Bound::Excluded(_), Bound::Excluded(_)));
            if a > b || (a == b && both_exclude) {
                return None;
            }
        }
        let (name, rows) = self.topics.get_key_value(topic)?;
        Some((name, rows.range((from, to))))
    }
}

fn place(envelope: &Envelope) -> Place {
    (envelope.timestamp_ns, *envelope.digest().as_bytes())
}
