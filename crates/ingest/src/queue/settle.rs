//! What becomes of a delivery: ack, requeue or park. No other module settles deliveries.
//!
//! - **ack** after the commit, for everything up to the last delivery of it at once;
//! - **requeue** only by ending the session: the broker then delivers again what was not acknowledged. Never by a nack,
//!   which is delivered again at once and spins;
//! - **park** what can never be stored: its bytes and the reason go to the database first, then it is acknowledged.

use lapin::options::BasicAckOptions;
use store::{Class, Page, Record};

use super::consumer::Session;
use super::{close, done_with};
use crate::error::{Error, Result};

/// What to do after the log refused some pages.
#[derive(Debug)]
pub(crate) enum Next {
    /// The database fails: keep the deliveries and retry later.
    Wait,
    /// One of them can never be stored: try the halves.
    Halves(Vec<Page>, Vec<Page>),
    /// This record of this source can never be stored.
    Park(String, Record),
    /// A page without records can never be stored: it held only progress, and later pages state newer progress.
    Forget,
    /// No retry helps: stop with the error.
    Stop,
}

/// Decides by the class of the error. A page that stands alone is split between its records; its progress stays with the
/// last part, so that it is committed no earlier than the rest.
pub(crate) fn after_refusal(class: Class, mut pages: Vec<Page>) -> (Next, Option<Vec<Page>>) {
    match class {
        Class::Retry => (Next::Wait, Some(pages)),
        Class::Fatal => (Next::Stop, Some(pages)),
        Class::Data => {
            if pages.len() > 1 {
                let second = pages.split_off(pages.len() / 2);
                return (Next::Halves(pages, second), None);
            }
            let Some(mut page) = pages.pop() else { return (Next::Forget, None) };
            let next = match page.records.len() {
                0 => Next::Forget,
                1 => match page.records.pop() {
                    Some(record) if page.progress.is_empty() => Next::Park(page.source, record),
                    Some(record) => {
                        let alone = Page {
                            source: page.source.clone(),
                            progress: Vec::new(),
                            records: vec![record],
                        };
                        Next::Halves(vec![alone], vec![page])
                    }
                    None => Next::Forget,
                },
                several => {
                    let rest = page.records.split_off(several / 2);
                    let second = Page {
                        source: page.source.clone(),
                        progress: std::mem::take(&mut page.progress),
                        records: rest,
                    };
                    Next::Halves(vec![page], vec![second])
                }
            };
            (next, None)
        }
    }
}

impl Session {
    /// Acknowledges this delivery and all before it.
    pub(crate) async fn ack_through(&self, tag: u64) -> Result<()> {
        self.channel
            .basic_ack(tag, BasicAckOptions { multiple: true })
            .await
            .map_err(|error| Error::broker("acknowledge pages", error))
    }

    /// Ends consuming. Deliveries that are not acknowledged go back into the queue.
    pub(crate) async fn requeue_rest(self) {
        done_with(&self.channel).await;
        close(&self.connection).await;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use store::Progress;
    use wire::Envelope;

    use super::*;

    fn record(timestamp_ns: u64) -> Record {
        Envelope { topic: Bytes::from_static(b"t"), timestamp_ns, message: Bytes::new() }.into()
    }

    fn page(progress: bool, times: &[u64]) -> Page {
        let progress = progress.then(|| Progress { shard: "a".into(), upto: 1 });
        Page {
            source: "s".into(),
            progress: progress.into_iter().collect(),
            records: times.iter().map(|n| record(*n)).collect(),
        }
    }

    fn times(pages: &[Page]) -> Vec<u64> {
        let records = pages.iter().flat_map(|page| &page.records);
        records.map(|record| record.envelope.timestamp_ns).collect()
    }

    #[test]
    fn our_own_trouble_keeps_everything() {
        let (next, kept) = after_refusal(Class::Retry, vec![page(false, &[1, 2])]);
        assert!(matches!(next, Next::Wait));
        assert_eq!(kept.map(|pages| pages[0].records.len()), Some(2));
    }

    proptest! {
        /// Plays a log that refuses poisonous records against the decisions: exactly the poison is parked, everything else
        /// is stored, and progress is stored only after every record of its page was stored or parked.
        #[test]
        fn exactly_the_poison_is_parked(
            pages in prop::collection::vec((prop::collection::vec(any::<bool>(), 0..9), any::<bool>()), 1..7),
        ) {
            let (mut n, mut poison, mut input) = (0, Vec::new(), Vec::new());
            for (records, progress) in &pages {
                let mut made = page(*progress, &[]);
                for bad in records {
                    made.records.push(record(n));
                    poison.push(*bad);
                    n += 1;
                }
                // How many records are settled when the progress of the page may be stored.
                made.progress.iter_mut().for_each(|progress| progress.upto = i64::try_from(n).unwrap());
                input.push(made);
            }
            let expected: Vec<i64> = input.iter().flat_map(|page| &page.progress).map(|one| one.upto).collect();
            let (mut stored, mut parked, mut moved) = (Vec::new(), Vec::new(), Vec::new());
            let mut work = vec![input];
            while let Some(pages) = work.pop() {
                if !times(&pages).iter().any(|n| poison[usize::try_from(*n).unwrap()]) {
                    for page in pages {
                        stored.extend(times(std::slice::from_ref(&page)));
                        for progress in &page.progress {
                            let settled = i64::try_from(stored.len() + parked.len()).unwrap();
                            prop_assert!(settled >= progress.upto, "{settled} before {}", progress.upto);
                            moved.push(progress.upto);
                        }
                    }
                    continue;
                }
                match after_refusal(Class::Data, pages).0 {
                    Next::Halves(first, second) => work.extend([second, first]),
                    Next::Park(_, record) => parked.push(record.envelope.timestamp_ns),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            let mut all: Vec<u64> = stored.iter().chain(&parked).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
            prop_assert!(parked.iter().all(|n| poison[usize::try_from(*n).unwrap()]));
            prop_assert!(stored.iter().all(|n| !poison[usize::try_from(*n).unwrap()]));
            prop_assert_eq!(moved, expected);
        }
    }
}
