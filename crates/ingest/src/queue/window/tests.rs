use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// A confirm that resolves when a verdict is put into it.
#[derive(Clone, Default)]
struct Slot(Rc<RefCell<Option<Verdict>>>);

impl Future for Slot {
    type Output = Verdict;
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Verdict> {
        self.0.borrow_mut().take().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Slot {
    fn answer(&self, verdict: Verdict) {
        *self.0.borrow_mut() = Some(verdict);
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

fn answers(window: &mut Window<Slot>, now: Instant) -> Poll<Answers> {
    window.poll_answers(now, &mut Context::from_waker(std::task::Waker::noop()))
}

fn none() -> Poll<Answers> {
    Poll::Ready(Answers::default())
}

/// Longer than any wait of a page.
fn later(now: Instant) -> Instant {
    now + Duration::from_secs(60)
}

#[test]
fn only_a_whole_prefix_is_released() {
    let (mut window, slots) = window(3);
    let now = Instant::now();
    assert!(answers(&mut window, now).is_pending());
    slots[1].answer(Verdict::Confirmed);
    assert_eq!(answers(&mut window, now), none());
    assert_eq!(window.release(), None);
    slots[0].answer(Verdict::Confirmed);
    assert_eq!(answers(&mut window, now), none());
    assert_eq!(window.release(), Some((1, 10)));
    assert_eq!((window.len(), window.bytes()), (1, 5));
}

#[test]
fn a_refused_page_is_sent_again_alone_and_later_each_time() {
    let (mut window, slots) = window(4);
    let mut now = Instant::now();
    slots[1].answer(Verdict::Refused);
    let refused = Poll::Ready(Answers { refused: 1, ..Answers::default() });
    assert_eq!(answers(&mut window, now), refused);
    assert!(window.unsent(now).is_none(), "not at once");
    let mut waits = Vec::new();
    for round in 0..8 {
        let until = window.next_again().unwrap();
        waits.push(until - now);
        now = until;
        assert_eq!(window.unsent(now).map(|entry| entry.number), Some(1), "nothing else");
        let slot = Slot::default();
        window.sent(1, slot.clone(), now);
        assert!(window.unsent(later(now)).is_none() && window.next_again().is_none());
        // What others are answered meanwhile does not shorten its wait.
        if round == 2 {
            slots[2].answer(Verdict::Confirmed);
            assert_eq!(answers(&mut window, now), none());
        }
        slot.answer(Verdict::Refused);
        assert_eq!(answers(&mut window, now), refused);
    }
    assert!(window.is_stuck());
    window.forget_confirms();
    assert!(!window.is_stuck(), "another channel may take it");
    assert!(
        waits[0] <= Duration::from_millis(200) && waits[7] > Duration::from_secs(1),
        "{waits:?}"
    );
    assert_eq!(window.release(), None);
}

#[test]
fn a_return_counts_against_the_page_it_names_whoever_carries_it() {
    let (mut window, slots) = window(3);
    let now = Instant::now();
    slots[0].answer(Verdict::Returned("id-1".into()));
    slots[1].answer(Verdict::Confirmed);
    let returned = Poll::Ready(Answers { returned: 1, ..Answers::default() });
    assert_eq!(answers(&mut window, now), returned);
    assert_eq!(window.release(), Some((0, 5)));
    assert_eq!(window.unsent(later(now)).map(|entry| entry.number), Some(1));
}

#[test]
fn a_returned_page_is_not_released_by_its_own_confirm_that_comes_later() {
    let (mut window, slots) = window(2);
    let now = Instant::now();
    slots[0].answer(Verdict::Returned("id-1".into()));
    assert!(answers(&mut window, now).is_ready());
    assert_eq!(window.release(), Some((0, 5)));
    slots[1].answer(Verdict::Confirmed);
    assert_eq!(answers(&mut window, now), none());
    assert_eq!(window.release(), None);
    assert_eq!(window.unsent(later(now)).map(|entry| entry.number), Some(1));
    let again = Slot::default();
    window.sent(1, again.clone(), now);
    again.answer(Verdict::Confirmed);
    assert_eq!(answers(&mut window, now), none());
    assert_eq!(window.release(), Some((1, 5)));
}

proptest! {
    /// Whatever happens to channels, each page is released exactly once, in order, and only when confirmed.
    #[test]
    fn nothing_is_released_that_is_not_confirmed(
        script in prop::collection::vec((0usize..8, 0u8..6, any::<bool>()), 1..200),
    ) {
        let (mut window, mut slots) = window(8);
        let mut now = Instant::now();
        let mut confirmed = [false; 8];
        let mut next = 0;
        for (at, what, reconnect) in script {
            // A return of a page is attached to its own confirm or to an earlier one.
            let verdict = match what {
                0..3 => Verdict::Confirmed,
                3 => Verdict::Refused,
                4 => Verdict::Returned(format!("id-{at}")),
                _ => Verdict::Lost("gone".into()),
            };
            let waits = |entry: &&Entry<Slot>| entry.number == at as u64 && entry.confirm.is_some();
            if window.entries.iter().any(|entry| waits(&entry)) {
                confirmed[at] = verdict == Verdict::Confirmed;
                slots[at].answer(verdict);
            }
            let lost = match answers(&mut window, now) {
                Poll::Ready(answers) => answers.lost.is_some(),
                Poll::Pending => false,
            };
            if let Some((last, _)) = window.release() {
                let last = usize::try_from(last).unwrap();
                prop_assert!(last >= next);
                prop_assert!(confirmed[next..=last].iter().all(|confirmed| *confirmed));
                next = last + 1;
            }
            if lost || reconnect {
                window.forget_confirms();
            }
            now = later(now);
            while let Some(number) = window.unsent(now).map(|entry| entry.number) {
                let slot = Slot::default();
                slots[usize::try_from(number).unwrap()] = slot.clone();
                window.sent(number, slot, now);
            }
        }
        prop_assert_eq!(window.len(), 8 - next);
    }
}
