//! What has been published and is not confirmed yet, in order: the memory of a publisher.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

/// What the broker said about one publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds it.
    Held,
    /// It had nowhere to put *some* message, named here. The client library hangs a return on whichever confirm comes
    /// next, so the name is what counts, not the confirm that carried it.
    Returned(Option<String>),
    /// It would not take it.
    Refused,
    /// The channel is gone; what became of it is unknown.
    Lost(String),
}

/// Why everything that is not held must be sent again on a new channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Returned,
    Refused,
    Lost(String),
}

/// One page on its way.
#[derive(Debug)]
pub(crate) struct Entry<C> {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) body: Bytes,
    confirm: Option<C>,
    sent_at: Instant,
    held: bool,
}

/// Pages in the order in which they were given. `C` resolves to the broker's verdict.
#[derive(Debug)]
pub(crate) struct Window<C> {
    entries: VecDeque<Entry<C>>,
    bytes: usize,
}

impl<C> Default for Window<C> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), bytes: 0 }
    }
}

impl<C: Future<Output = Verdict> + Unpin> Window<C> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a page in before it is sent, so that no failure on the way can lose it.
    pub(crate) fn take_in(&mut self, number: u64, id: String, body: Bytes, now: Instant) {
        self.bytes += body.len();
        self.entries.push_back(Entry {
            number,
            id,
            body,
            confirm: None,
            sent_at: now,
            held: false,
        });
    }

    /// The next page that has not been sent on this channel.
    pub(crate) fn unsent(&self) -> Option<&Entry<C>> {
        self.entries.iter().find(|entry| !entry.held && entry.confirm.is_none())
    }

    pub(crate) fn sent(&mut self, number: u64, confirm: C, now: Instant) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) {
            entry.confirm = Some(confirm);
            entry.sent_at = now;
        }
    }

    /// The channel is gone, and every confirm of it.
    pub(crate) fn forget_confirms(&mut self) {
        for entry in &mut self.entries {
            entry.confirm = None;
        }
    }

    /// When the page that has waited longest was sent.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.entries.iter().filter(|entry| entry.confirm.is_some()).map(|entry| entry.sent_at).min()
    }

    /// Resolves when the broker has said something. Confirms are looked at twice, and judged only then: a return is hung on
    /// a confirm that resolves no later than that of the returned page, but the two may be seen in either order.
    pub(crate) fn poll_settled(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        let mut heard = Vec::new();
        self.look(context, &mut heard);
        if heard.is_empty() {
            return Poll::Pending;
        }
        self.look(context, &mut heard);
        let mut trouble = None;
        for verdict in heard {
            match verdict {
                Verdict::Held => {}
                Verdict::Returned(id) => {
                    for entry in &mut self.entries {
                        // Without a name nothing is sure.
                        if id.as_ref().is_none_or(|id| *id == entry.id) {
                            entry.held = false;
                        }
                    }
                    trouble = Some(Trouble::Returned);
                }
                Verdict::Refused => trouble = Some(Trouble::Refused),
                Verdict::Lost(why) => {
                    trouble.get_or_insert(Trouble::Lost(why));
                }
            }
        }
        Poll::Ready(trouble.map_or(Ok(()), Err))
    }

    fn look(&mut self, context: &mut Context<'_>, heard: &mut Vec<Verdict>) {
        for entry in &mut self.entries {
            let Some(confirm) = entry.confirm.as_mut() else { continue };
            if let Poll::Ready(verdict) = Pin::new(confirm).poll(context) {
                entry.confirm = None;
                // A confirm that carries a return still confirms its own page; the return names the other.
                entry.held = matches!(verdict, Verdict::Held | Verdict::Returned(_));
                heard.push(verdict);
            }
        }
    }

    /// Takes out what is held together with everything before it; tells the last number and the bytes of each.
    pub(crate) fn release(&mut self) -> Option<(u64, usize)> {
        let mut released = None;
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.held) {
            self.bytes -= entry.body.len();
            let bytes = released.map_or(0, |(_, bytes)| bytes) + entry.body.len();
            released = Some((entry.number, bytes));
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::RefCell;
    use std::rc::Rc;

    /// A confirm that resolves when told to.
    #[derive(Clone, Default)]
    struct Slot(Rc<RefCell<Option<Verdict>>>);

    impl Future for Slot {
        type Output = Verdict;
        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Verdict> {
            self.0.borrow_mut().take().map_or(Poll::Pending, Poll::Ready)
        }
    }

    fn window(pages: u64) -> (Window<Slot>, Vec<Slot>) {
        let mut window = Window::default();
        let now = Instant::now();
        let slots: Vec<Slot> = (0..pages).map(|_| Slot::default()).collect();
        for number in 0..pages {
            window.take_in(number, format!("id-{number}"), Bytes::from_static(b"12345"), now);
            window.sent(number, slots[usize::try_from(number).unwrap()].clone(), now);
        }
        (window, slots)
    }

    fn settle(window: &mut Window<Slot>) -> Poll<Result<(), Trouble>> {
        window.poll_settled(&mut Context::from_waker(std::task::Waker::noop()))
    }

    #[test]
    fn only_a_whole_prefix_is_released() {
        let (mut window, slots) = window(3);
        assert!(settle(&mut window).is_pending());
        *slots[1].0.borrow_mut() = Some(Verdict::Held);
        assert_eq!(settle(&mut window), Poll::Ready(Ok(())));
        assert_eq!(window.release(), None);
        *slots[0].0.borrow_mut() = Some(Verdict::Held);
        assert_eq!(settle(&mut window), Poll::Ready(Ok(())));
        assert_eq!(window.release(), Some((1, 10)));
        assert_eq!((window.len(), window.bytes()), (1, 5));
    }

    #[test]
    fn a_return_counts_against_the_page_it_names_whoever_carries_it() {
        let (mut window, slots) = window(3);
        *slots[0].0.borrow_mut() = Some(Verdict::Returned(Some("id-1".into())));
        *slots[1].0.borrow_mut() = Some(Verdict::Held);
        assert_eq!(settle(&mut window), Poll::Ready(Err(Trouble::Returned)));
        assert_eq!(window.release(), Some((0, 5)));
        window.forget_confirms();
        assert_eq!(window.unsent().map(|entry| entry.number), Some(1));
    }

    #[test]
    fn a_return_without_a_name_makes_everything_doubtful() {
        let (mut window, slots) = window(2);
        *slots[0].0.borrow_mut() = Some(Verdict::Returned(None));
        *slots[1].0.borrow_mut() = Some(Verdict::Held);
        assert_eq!(settle(&mut window), Poll::Ready(Err(Trouble::Returned)));
        assert_eq!(window.release(), None);
    }

    proptest! {
        /// Whatever happens to channels, each page is released exactly once, in order, and only when held.
        #[test]
        fn nothing_is_released_that_is_not_held(script in prop::collection::vec((0usize..8, 0u8..6), 1..200)) {
            let (mut window, mut slots) = window(8);
            let mut held = [false; 8];
            let mut next = 0;
            for (at, what) in script {
                let verdict = match what {
                    0..3 => Verdict::Held,
                    3 => Verdict::Refused,
                    4 => Verdict::Returned(Some(format!("id-{at}"))),
                    _ => Verdict::Lost("gone".into()),
                };
                let live = window.entries.iter().any(|entry| entry.number == at as u64 && entry.confirm.is_some());
                if live {
                    held[at] = verdict == Verdict::Held;
                    *slots[at].0.borrow_mut() = Some(verdict);
                }
                if let Poll::Ready(Err(_)) = settle(&mut window) {
                    window.forget_confirms();
                }
                if let Some((last, _)) = window.release() {
                    let last = usize::try_from(last).unwrap();
                    prop_assert!(last >= next);
                    prop_assert!(held[next..=last].iter().all(|held| *held));
                    next = last + 1;
                }
                while let Some(number) = window.unsent().map(|entry| entry.number) {
                    let slot = Slot::default();
                    slots[usize::try_from(number).unwrap()] = slot.clone();
                    window.sent(number, slot, Instant::now());
                }
            }
            prop_assert_eq!(window.len(), 8 - next);
        }
    }
}
