//! Pages that have been taken in and are not confirmed yet, in order.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::time::Instant;

use crate::back_off::BackOff;

/// Refusals of one page after which its channel is closed.
const REFUSALS: u32 = 3;

/// The broker's answer to one publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The broker holds the page.
    Confirmed,
    /// The broker had no queue for *some* page, whose id this is. The client library attaches a return to whichever confirm
    /// comes next, so the id decides, not the confirm that carried it.
    Returned(String),
    /// The broker refused the page (nack).
    Refused,
    /// The channel is closed; the outcome is unknown.
    Lost(String),
}

/// What the broker has answered since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// Pages that it had no queue for.
    pub(crate) returned: usize,
    /// Pages that it refused.
    pub(crate) refused: usize,
    /// Why the channel is no longer usable; everything unconfirmed must be sent on a new one.
    pub(crate) lost: Option<String>,
}

/// One page on its way.
#[derive(Debug)]
pub(crate) struct Entry<C> {
    pub(crate) number: u64,
    pub(crate) id: String,
    pub(crate) body: Bytes,
    confirm: Option<C>,
    sent_at: Instant,
    confirmed: bool,
    /// The page was returned, so that its own confirm does not count.
    returned: bool,
    /// Refusals on this channel.
    refusals: u32,
    /// Set by the first return or refusal: waits of the page, and the end of the current one.
    again: Option<(BackOff, Instant)>,
}

/// Pages in the order in which they were taken in. `C` resolves to the broker's verdict.
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

impl<C> Entry<C> {
    fn is_unsent(&self) -> bool {
        !self.confirmed && self.confirm.is_none()
    }

    /// Sends the page again after a wait, longer each time. Other pages do not wait for it.
    fn send_again(&mut self, now: Instant) {
        self.confirmed = false;
        let mut waits = self.again.take().map_or_else(BackOff::for_services, |(waits, _)| waits);
        let until = now + waits.next();
        self.again = Some((waits, until));
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

    /// Adds a page before it is sent, so that no failure on the way can lose it.
    pub(crate) fn take_in(&mut self, number: u64, id: String, body: Bytes, now: Instant) {
        self.bytes += body.len();
        self.entries.push_back(Entry {
            number,
            id,
            body,
            confirm: None,
            sent_at: now,
            confirmed: false,
            returned: false,
            refusals: 0,
            again: None,
        });
    }

    /// The next page to send on this channel now.
    pub(crate) fn unsent(&self, now: Instant) -> Option<&Entry<C>> {
        let due = |entry: &&Entry<C>| entry.again.as_ref().is_none_or(|(_, until)| *until <= now);
        self.entries.iter().filter(|entry| entry.is_unsent()).find(due)
    }

    /// When the next page that waits after a refusal is sent again.
    pub(crate) fn next_again(&self) -> Option<Instant> {
        let unsent = self.entries.iter().filter(|entry| entry.is_unsent());
        unsent.filter_map(|entry| entry.again.as_ref().map(|(_, until)| *until)).min()
    }

    pub(crate) fn sent(&mut self, number: u64, confirm: C, now: Instant) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.number == number) {
            entry.confirm = Some(confirm);
            entry.sent_at = now;
            entry.returned = false;
        }
    }

    /// The channel is closed, and every confirm of it void.
    pub(crate) fn forget_confirms(&mut self) {
        for entry in &mut self.entries {
            entry.confirm = None;
            entry.refusals = 0;
        }
    }

    /// Whether the channel goes on refusing a page. RabbitMQ's channel may do so for ever once it has lost the leader of its
    /// queue, also when the queue has another one: only a new channel finds that.
    pub(crate) fn is_stuck(&self) -> bool {
        self.entries.iter().any(|entry| entry.refusals >= REFUSALS)
    }

    /// When the page that has waited longest for its confirm was sent.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.entries.iter().filter(|entry| entry.confirm.is_some()).map(|entry| entry.sent_at).min()
    }

    /// Resolves when the broker has answered something. Confirms are polled twice before they are judged: a return is attached
    /// to a confirm that resolves no later than that of the returned page, but the two may be seen in either order.
    pub(crate) fn poll_answers(
        &mut self,
        now: Instant,
        context: &mut Context<'_>,
    ) -> Poll<Answers> {
        let mut verdicts = Vec::new();
        self.poll_confirms(context, &mut verdicts);
        if verdicts.is_empty() {
            return Poll::Pending;
        }
        self.poll_confirms(context, &mut verdicts);
        let mut answers = Answers::default();
        for (number, verdict) in verdicts {
            match verdict {
                Verdict::Confirmed => {}
                Verdict::Returned(id) => {
                    answers.returned += 1;
                    if let Some(entry) = self.entries.iter_mut().find(|entry| entry.id == id) {
                        entry.returned = true;
                        entry.send_again(now);
                    }
                }
                Verdict::Refused => {
                    answers.refused += 1;
                    if let Some(entry) = self.entries.iter_mut().find(|one| one.number == number) {
                        entry.refusals += 1;
                        entry.send_again(now);
                    }
                }
                Verdict::Lost(why) => {
                    answers.lost.get_or_insert(why);
                }
            }
        }
        Poll::Ready(answers)
    }

    fn poll_confirms(&mut self, context: &mut Context<'_>, verdicts: &mut Vec<(u64, Verdict)>) {
        for entry in &mut self.entries {
            let Some(confirm) = entry.confirm.as_mut() else { continue };
            if let Poll::Ready(verdict) = Pin::new(confirm).poll(context) {
                entry.confirm = None;
                // A confirm that carries a return still confirms its own page; the return names the other.
                let confirmed = matches!(verdict, Verdict::Confirmed | Verdict::Returned(_));
                entry.confirmed = confirmed && !entry.returned;
                verdicts.push((entry.number, verdict));
            }
        }
    }

    /// Removes confirmed pages up to the first unconfirmed one; returns the last number and their bytes.
    pub(crate) fn release(&mut self) -> Option<(u64, usize)> {
        let mut released = None;
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.confirmed) {
            self.bytes -= entry.body.len();
            let bytes = released.map_or(0, |(_, bytes)| bytes) + entry.body.len();
            released = Some((entry.number, bytes));
        }
        released
    }
}

#[cfg(test)]
mod tests;
