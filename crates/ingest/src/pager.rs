//! Collects records into pages, which are limited by count, bytes and time.

use std::time::Duration;

use store::{Page, Record};
use tokio::time::Instant;

use crate::queue::page::MAX_BODY_BYTES;

/// The limits of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOptions {
    /// Records in a page.
    pub envelopes: usize,
    /// Bytes in a page; one record that is larger has a page of its own.
    pub bytes: usize,
    /// How long a page that is not full waits for more records.
    pub linger: Duration,
}

impl Default for PageOptions {
    /// Nine tenths of the broker's best rate, at a twelfth of the cost of single messages.
    fn default() -> Self {
        Self { envelopes: 128, bytes: 128 << 10, linger: Duration::from_millis(5) }
    }
}

/// The most bytes that tags, lengths and numbers add to an envelope in the body of a page.
const FRAMING: usize = 48;

/// Collects the records of one source.
#[derive(Debug)]
pub(crate) struct Pager {
    source: String,
    options: PageOptions,
    records: Vec<Record>,
    bytes: usize,
    since: Option<Instant>,
}

/// A record that does not fit into any page.
#[derive(Debug)]
pub(crate) struct TooLarge(pub(crate) Record);

impl TooLarge {
    pub(crate) fn reason(&self) -> String {
        let bytes = bytes_of(&self.0);
        format!(
            "an envelope of {bytes} bytes does not fit into a page of the queue ({MAX_BODY_BYTES} bytes)"
        )
    }
}

fn bytes_of(record: &Record) -> usize {
    record.envelope.topic.len() + record.envelope.message.len()
}

impl Pager {
    pub(crate) fn new(source: &str, options: PageOptions) -> Self {
        Self { source: source.to_owned(), options, records: Vec::new(), bytes: 0, since: None }
    }

    /// Adds a record; returns a page when one became full.
    pub(crate) fn push(&mut self, record: Record, now: Instant) -> Result<Option<Page>, TooLarge> {
        let bytes = bytes_of(&record) + FRAMING;
        if bytes + 1_024 > MAX_BODY_BYTES {
            return Err(TooLarge(record));
        }
        // A record that would make the page too large begins the next one.
        let full = if self.bytes + bytes > self.options.bytes { self.take() } else { None };
        self.records.push(record);
        self.bytes += bytes;
        self.since.get_or_insert(now);
        if full.is_none() && self.records.len() >= self.options.envelopes.max(1) {
            return Ok(self.take());
        }
        Ok(full)
    }

    /// When the page must be sent even though it is not full.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.since.map(|since| since + self.options.linger)
    }

    /// Returns the collected records as a page.
    pub(crate) fn take(&mut self) -> Option<Page> {
        self.since = None;
        self.bytes = 0;
        if self.records.is_empty() {
            return None;
        }
        let records = std::mem::take(&mut self.records);
        Some(Page { source: self.source.clone(), progress: Vec::new(), records })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use store::Origin;
    use wire::Envelope;

    use super::*;

    fn record(timestamp_ns: u64, bytes: usize) -> Record {
        let message = Bytes::from(vec![0; bytes]);
        Envelope { topic: Bytes::new(), timestamp_ns, message }.into()
    }

    proptest! {
        #[test]
        fn pages_keep_order_and_bounds(sizes in prop::collection::vec(0usize..3_000, 0..200)) {
            let options = PageOptions { envelopes: 7, bytes: 4_096, linger: Duration::ZERO };
            let mut pager = Pager::new("s", options);
            let mut pages = Vec::new();
            for (n, size) in sizes.iter().enumerate() {
                let origin = (n % 2 == 0).then_some(Origin { space: u32::MAX, sequence: u64::MAX });
                let record = Record { origin, ..record(n as u64, *size) };
                pages.extend(pager.push(record, Instant::now()).unwrap());
            }
            pages.extend(pager.take());
            let records = pages.iter().flat_map(|page| &page.records);
            let order: Vec<u64> = records.map(|record| record.envelope.timestamp_ns).collect();
            prop_assert_eq!(order, (0..sizes.len() as u64).collect::<Vec<_>>());
            for page in pages {
                prop_assert!((1..=7).contains(&page.records.len()));
                let body = crate::queue::page::encode(page, "net").unwrap();
                prop_assert!(body.len() <= 4_096 + 64, "{}", body.len());
            }
        }
    }

    #[test]
    fn a_record_larger_than_a_page_has_its_own_and_one_larger_than_a_body_is_refused() {
        let mut pager = Pager::new("s", PageOptions::default());
        let now = Instant::now();
        assert!(pager.push(record(0, 1), now).unwrap().is_none());
        assert_eq!(pager.push(record(0, 1 << 20), now).unwrap().unwrap().records.len(), 1);
        assert_eq!(pager.push(record(0, 1), now).unwrap().unwrap().records.len(), 1);
        assert!(pager.push(record(0, MAX_BODY_BYTES), now).is_err());
        assert_eq!(pager.take().unwrap().records.len(), 1);
    }

    #[test]
    fn lingering_counts_from_the_first_record() {
        let mut pager = Pager::new("s", PageOptions::default());
        assert_eq!(pager.due(), None);
        let start = Instant::now();
        pager.push(record(0, 0), start).unwrap();
        pager.push(record(0, 0), start + Duration::from_millis(3)).unwrap();
        assert_eq!(pager.due(), Some(start + Duration::from_millis(5)));
    }
}
