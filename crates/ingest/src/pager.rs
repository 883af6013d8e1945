//! Envelopes become pages: so many, so many bytes, or so long.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use store::Page;
use tokio::time::Instant;
use wire::Envelope;

use crate::queue::page::MAX_BODY_BYTES;

/// When a page is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PageOptions {
    /// Envelopes in a page.
    pub envelopes: usize,
    /// Bytes in a page; one envelope that is larger travels alone.
    pub bytes: usize,
    /// How long a page that is not full waits.
    #[serde(with = "crate::seconds")]
    pub linger: Duration,
}

impl Default for PageOptions {
    /// Nine tenths of the broker's best rate, at a twelfth of the cost of single messages.
    fn default() -> Self {
        Self { envelopes: 128, bytes: 120 << 10, linger: Duration::from_millis(5) }
    }
}

/// What field tags and lengths add to an envelope, at most.
const FRAMING: usize = 32;

/// Gathers the envelopes of one source.
#[derive(Debug)]
pub(crate) struct Pager {
    source: String,
    options: PageOptions,
    envelopes: Vec<Envelope>,
    bytes: usize,
    since: Option<Instant>,
}

/// An envelope that no page can carry.
#[derive(Debug)]
pub(crate) struct TooLarge(pub(crate) Envelope);

impl TooLarge {
    pub(crate) fn reason(&self) -> String {
        let bytes = self.0.topic.len() + self.0.message.len();
        format!(
            "an envelope of {bytes} bytes does not fit into a page of the queue ({MAX_BODY_BYTES} bytes)"
        )
    }
}

impl Pager {
    pub(crate) fn new(source: &str, options: PageOptions) -> Self {
        Self { source: source.to_owned(), options, envelopes: Vec::new(), bytes: 0, since: None }
    }

    /// Takes an envelope; gives a page when one became full.
    pub(crate) fn push(
        &mut self,
        envelope: Envelope,
        now: Instant,
    ) -> Result<Option<Page>, TooLarge> {
        let bytes = envelope.topic.len() + envelope.message.len() + FRAMING;
        if bytes + 1_024 > MAX_BODY_BYTES {
            return Err(TooLarge(envelope));
        }
        // What would make the page too large begins the next one.
        let full = if self.bytes + bytes > self.options.bytes { self.take() } else { None };
        self.envelopes.push(envelope);
        self.bytes += bytes;
        self.since.get_or_insert(now);
        if full.is_none() && self.envelopes.len() >= self.options.envelopes.max(1) {
            return Ok(self.take());
        }
        Ok(full)
    }

    /// When the page must go even though it is not full.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.options.linger)
    }

    /// What has been gathered.
    pub(crate) fn take(&mut self) -> Option<Page> {
        self.since = None;
        self.bytes = 0;
        if self.envelopes.is_empty() {
            return None;
        }
        let envelopes = std::mem::take(&mut self.envelopes);
        Some(Page { source: self.source.clone(), cursor: None, envelopes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pages_keep_order_and_bounds(sizes in prop::collection::vec(0usize..3_000, 0..200)) {
            let options = PageOptions { envelopes: 7, bytes: 4_096, linger: Duration::ZERO };
            let mut pager = Pager::new("s", options);
            let mut pages = Vec::new();
            for (n, size) in sizes.iter().enumerate() {
                let message = Bytes::from(vec![0; *size]);
                let envelope = Envelope { topic: Bytes::new(), timestamp_ns: n as u64, message };
                pages.extend(pager.push(envelope, Instant::now()).unwrap());
            }
            pages.extend(pager.take());
            let order: Vec<u64> = pages.iter().flat_map(|page| &page.envelopes).map(|e| e.timestamp_ns).collect();
            prop_assert_eq!(order, (0..sizes.len() as u64).collect::<Vec<_>>());
            for page in pages {
                prop_assert!((1..=7).contains(&page.envelopes.len()));
                let body = crate::queue::page::encode(page).unwrap();
                prop_assert!(body.len() <= 4_096 + 64, "{}", body.len());
            }
        }
    }

    #[test]
    fn an_envelope_larger_than_a_page_travels_alone_and_one_larger_than_a_body_not_at_all() {
        let mut pager = Pager::new("s", PageOptions::default());
        let envelope = |bytes: usize| Envelope {
            topic: Bytes::new(),
            timestamp_ns: 0,
            message: vec![0; bytes].into(),
        };
        let now = Instant::now();
        assert!(pager.push(envelope(1), now).unwrap().is_none());
        assert_eq!(pager.push(envelope(1 << 20), now).unwrap().unwrap().envelopes.len(), 1);
        assert_eq!(pager.push(envelope(1), now).unwrap().unwrap().envelopes.len(), 1);
        assert!(pager.push(envelope(MAX_BODY_BYTES), now).is_err());
        assert_eq!(pager.take().unwrap().envelopes.len(), 1);
    }

    #[test]
    fn lingering_counts_from_the_first_envelope() {
        let mut pager = Pager::new("s", PageOptions::default());
        assert_eq!(pager.due(), None);
        let start = Instant::now();
        let envelope = Envelope { topic: Bytes::new(), timestamp_ns: 0, message: Bytes::new() };
        pager.push(envelope.clone(), start).unwrap();
        pager.push(envelope, start + Duration::from_millis(3)).unwrap();
        assert_eq!(pager.due(), Some(start + Duration::from_millis(5)));
    }
}
