//! What becomes of a delivery: ack, requeue or park. Nothing else in the house says these words to the broker.
//!
//! - **ack** after the commit, for everything up to the last delivery of it at once;
//! - **requeue** only by ending the session: the broker then hands out again what was not acknowledged. Never by a nack,
//!   which comes back at once and spins;
//! - **park** for what can never be stored: its bytes and the reason go to the database first, then it is acknowledged.

use lapin::options::BasicAckOptions;
use store::{Class, Page};

use super::consumer::Session;
use super::{close, done_with};
use crate::error::{Error, Result};

/// What to do after the log refused some pages.
#[derive(Debug)]
pub(crate) enum Next {
    /// Our side is in trouble: keep the deliveries and try again later.
    Wait,
    /// One of them can never be stored: try the halves.
    Halves(Vec<Page>, Vec<Page>),
    /// This envelope can never be stored.
    Park(String, wire::Envelope),
    /// A page without envelopes can never be stored: it carried only a cursor, and the next one carries a newer.
    Forget,
    /// Waiting heals nothing: stop, and tell.
    Stop,
}

/// Decides by the class of the error. A page is split between its envelopes when it stands alone; its cursor stays with the
/// last of them, so that it is committed no earlier than the rest.
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
            let next = match page.envelopes.len() {
                0 => Next::Forget,
                1 => match page.envelopes.pop() {
                    Some(envelope) if page.cursor.is_none() => Next::Park(page.source, envelope),
                    Some(envelope) => {
                        let alone = Page {
                            source: page.source.clone(),
                            cursor: None,
                            envelopes: vec![envelope],
                        };
                        Next::Halves(vec![alone], vec![page])
                    }
                    None => Next::Forget,
                },
                several => {
                    let rest = page.envelopes.split_off(several / 2);
                    let second = Page {
                        source: page.source.clone(),
                        cursor: page.cursor.take(),
                        envelopes: rest,
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

    /// Ends consuming; what is not acknowledged goes back into the queue.
    pub(crate) async fn requeue_rest(self) {
        done_with(&self.channel).await;
        close(&self.connection).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn envelope(n: u64) -> wire::Envelope {
        wire::Envelope { topic: Bytes::from_static(b"t"), timestamp_ns: n, message: Bytes::new() }
    }

    fn page(cursor: Option<&'static [u8]>, times: &[u64]) -> Page {
        Page {
            source: "s".into(),
            cursor: cursor.map(Bytes::from_static),
            envelopes: times.iter().map(|n| envelope(*n)).collect(),
        }
    }

    #[test]
    fn our_own_trouble_keeps_everything() {
        let (next, kept) = after_refusal(Class::Retry, vec![page(None, &[1, 2])]);
        assert!(matches!(next, Next::Wait));
        assert_eq!(kept.map(|pages| pages[0].envelopes.len()), Some(2));
    }

    proptest! {
        /// Plays a log that refuses poisonous envelopes against the decisions: exactly the poison is parked, everything
        /// else is stored, and a cursor is stored only after every envelope of its page was stored or parked.
        #[test]
        fn exactly_the_poison_is_parked(
            pages in prop::collection::vec((prop::collection::vec(any::<bool>(), 0..9), any::<bool>()), 1..7),
        ) {
            let (mut n, mut poison, mut input) = (0, Vec::new(), Vec::new());
            for (envelopes, cursor) in &pages {
                let mut made = page(cursor.then_some(b"c".as_slice()), &[]);
                for bad in envelopes {
                    made.envelopes.push(envelope(n));
                    poison.push(*bad);
                    n += 1;
                }
                input.push(made);
            }
            let cursors = input.iter().filter(|page| page.cursor.is_some()).count();
            let (mut stored, mut parked, mut moved) = (Vec::new(), Vec::new(), 0);
            let mut work = vec![input];
            while let Some(pages) = work.pop() {
                let bad = pages.iter().flat_map(|page| &page.envelopes).any(|e| poison[usize::try_from(e.timestamp_ns).unwrap()]);
                if !bad {
                    for page in pages {
                        stored.extend(page.envelopes.iter().map(|e| e.timestamp_ns));
                        if page.cursor.is_some() {
                            moved += 1;
                        }
                    }
                    continue;
                }
                match after_refusal(Class::Data, pages).0 {
                    Next::Halves(first, second) => work.extend([second, first]),
                    Next::Park(_, envelope) => parked.push(envelope.timestamp_ns),
                    other => prop_assert!(false, "{other:?}"),
                }
            }
            let mut all: Vec<u64> = stored.iter().chain(&parked).copied().collect();
            all.sort_unstable();
            prop_assert_eq!(all, (0..n).collect::<Vec<_>>());
            prop_assert!(parked.iter().all(|n| poison[usize::try_from(*n).unwrap()]));
            prop_assert!(stored.iter().all(|n| !poison[usize::try_from(*n).unwrap()]));
            prop_assert_eq!(moved, cursors);
        }
    }
}
