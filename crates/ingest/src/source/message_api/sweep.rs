//! Closes gaps: queries the node for what its stream may have left out.
//!
//! A node's stream has no memory, so each (re)subscription is followed by a sweep: every known topic is queried for
//! everything since the stream was last whole, less an overlap for senders whose clocks are behind. Topics that came
//! into being during the gap are followed, too: for every known wallet, and every wallet that a swept envelope names, the topics
//! whose names follow from its address are queried.
//!
//! Known topics are read from a derived table, which lags behind the log, which lags behind the queue. A sweep does not
//! wait for them: a topic that it therefore misses has its first envelope behind the position `read-back-to`, and
//! [`Sweeper::read_back`] reads it from its beginning as soon as the table has it. So it does a topic whose name cannot be
//! derived and that came into being during a gap, once the topic is seen again. A rebuild of the table changes nothing: the
//! table that is served stays until the new one has caught up.

use std::collections::HashSet;
use std::sync::Arc;

use store::{Gap, GapState, Position};
use tokio_util::sync::CancellationToken;
use wire::{Address, TopicKind, Verifier, topic};

use super::ask::Asker;
use super::edges::{edge, private_store_of, topics_of};
use super::node::{QUERY_TOPICS, Question};
use crate::error::Result;
use crate::source::{Cause, Known, NodeError, Outbox, Reporter, Ticket};

/// What legacy nodes store.
pub(crate) const STORED: [TopicKind; 9] = [
    TopicKind::Contact,
    TopicKind::Intro,
    TopicKind::DirectMessage,
    TopicKind::Invite,
    TopicKind::GroupInvite,
    TopicKind::Conversation,
    TopicKind::PrivateStore,
    TopicKind::Preferences,
    TopicKind::Unknown,
];
/// Rows of one read of a table.
const KNOWN_PAGE: i64 = 5_000;
/// Wallets and pairs that one pass of a sweep follows beyond those of the table: a bound on memory.
pub(super) const MAX_FOLLOWED: usize = 200_000;

/// Queries what may be missing.
#[derive(Clone)]
pub(crate) struct Sweeper {
    pub(crate) asker: Asker,
    pub(crate) outbox: Outbox,
    pub(crate) known: Known,
    pub(crate) report: Reporter,
    pub(crate) verifier: Arc<Verifier>,
    /// [`MAX_FOLLOWED`], but in tests.
    pub(crate) max_followed: usize,
}

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Everything that was queried is confirmed by the broker.
    Complete,
    /// More wallets were found than one pass follows. Those are known as soon as they are indexed, and the next pass queries
    /// them.
    Again,
    Cancelled,
}

impl Sweeper {
    /// Queries everything since `from_ns`. When it is complete, everything that it found is confirmed by the broker.
    pub(crate) async fn sweep(&self, from_ns: u64, stop: &CancellationToken) -> Result<Ended> {
        let mut followed = Followed::since(from_ns, self.max_followed);
        let mut after: Option<String> = None;
        loop {
            let names = self.known.topics(after.as_deref(), KNOWN_PAGE, &STORED).await?;
            let Some(last) = names.last().cloned() else { break };
            if self.ask_all(names, from_ns, &mut followed, stop).await? == Ended::Cancelled {
                return Ok(Ended::Cancelled);
            }
            after = Some(last);
        }
        let mut after: Option<Address> = None;
        loop {
            let accounts = self.known.accounts(after, KNOWN_PAGE).await?;
            let Some(last) = accounts.last().copied() else { break };
            let names = accounts.iter().flat_map(|account| asked_of(*account, from_ns)).collect();
            if self.ask_all(names, from_ns, &mut followed, stop).await? == Ended::Cancelled {
                return Ok(Ended::Cancelled);
            }
            after = Some(last);
        }
        loop {
            let names = followed.take();
            if names.is_empty() {
                return Ok(if followed.overflowed { Ended::Again } else { Ended::Complete });
            }
            if self.ask_all(names, from_ns, &mut followed, stop).await? == Ended::Cancelled {
                return Ok(Ended::Cancelled);
            }
        }
    }

    /// Queries these topics to the end, many at a time, and waits until all of it is confirmed.
    async fn ask_all(
        &self,
        mut names: Vec<String>,
        from_ns: u64,
        followed: &mut Followed,
        stop: &CancellationToken,
    ) -> Result<Ended> {
        while !names.is_empty() {
            let rest = names.split_off(names.len().min(QUERY_TOPICS));
            let chunk = std::mem::replace(&mut names, rest);
            if self.ask_chunk(chunk, from_ns, followed, stop).await? == Ended::Cancelled {
                return Ok(Ended::Cancelled);
            }
        }
        Ok(Ended::Complete)
    }

    async fn ask_chunk(
        &self,
        chunk: Vec<String>,
        from_ns: u64,
        followed: &mut Followed,
        stop: &CancellationToken,
    ) -> Result<Ended> {
        let mut work = vec![Question { topics: chunk, start_ns: from_ns, ..Question::default() }];
        let (mut last, mut complete) = (Ticket::default(), Vec::new());
        while let Some(question) = work.pop() {
            let answer = match self.asker.ask(question.clone(), stop).await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Ok(Ended::Cancelled),
                // Anyone can make up a topic; one that the node cannot answer about must not hide its neighbours.
                Err(error) => {
                    work.extend(self.without_culprit(question, error)?);
                    continue;
                }
            };
            for envelope in &answer.envelopes {
                followed.note(envelope, &self.verifier);
            }
            metrics::counter!("xmtp_indexer_envelopes_swept_total")
                .increment(answer.envelopes.len() as u64);
            // At most one response may be unconfirmed while the next is queried: the spill belongs to the stream.
            let previous = last;
            let records = answer.envelopes.into_iter().map(Into::into);
            last = self.outbox.put(records, stop).await?.max(last);
            self.outbox.confirmed(previous).await?;
            self.check_overflow(followed).await?;
            match answer.next {
                Some(next) => work.push(Question { after: Some(next), ..question }),
                None => complete.extend(question.topics),
            }
        }
        self.outbox.confirmed(last).await?;
        self.report.close(complete.iter().map(|topic| shard_of(topic)), from_ns);
        Ok(Ended::Complete)
    }

    /// Wallets and pairs for which there was no room are asked for by this sweep if the index knows them; else there must
    /// be another one.
    async fn check_overflow(&self, followed: &mut Followed) -> Result<()> {
        let (accounts, topics) = followed.beyond();
        let any = !accounts.is_empty() || !topics.is_empty();
        if any && !followed.overflowed {
            followed.overflowed = self.known.lacks(&accounts, &topics).await?;
        }
        Ok(())
    }

    /// Asks for the topics of gaps again, each from where its gap begins.
    pub(crate) async fn repair(&self, stop: &CancellationToken) -> Result<()> {
        let gaps = self.report.gaps();
        let topics = gaps.iter().filter_map(|gap| {
            let (from, _) = gap.times?;
            Some((gap.shard.strip_prefix(TOPIC)?.to_owned(), from))
        });
        for (topic, from_ns) in topics.take(QUERY_TOPICS) {
            let asked = self.ask_chunk(vec![topic], from_ns, &mut Followed::closed(), stop).await?;
            if asked == Ended::Cancelled {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What to ask instead of a question that a node does not answer: its halves. A single topic that it does not answer
    /// about is a gap.
    fn without_culprit(&self, mut question: Question, error: NodeError) -> Result<Vec<Question>> {
        if question.topics.len() > 1 {
            let second = question.topics.split_off(question.topics.len() / 2);
            let second = Question { topics: second, ..question.clone() };
            return Ok(vec![second, question]);
        }
        let Some(topic) = question.topics.first() else { return Ok(Vec::new()) };
        if !self.report.has_room_for(&shard_of(topic)) {
            return Err(error.into());
        }
        tracing::warn!(topic, %error, "the node does not answer about a topic: this is a gap");
        let gap = Gap {
            shard: shard_of(topic),
            // What is refused today may be answered by another version of the node: it is asked for again.
            state: match error.cause {
                Cause::Refused => GapState::Unrepairable,
                _ => GapState::Open,
            },
            times: Some((question.start_ns, None)),
            sequences: None,
            reason: error.to_string(),
        };
        self.report.gap(gap);
        Ok(Vec::new())
    }

    /// Reads topics back to their beginning that were first seen after this position, with the derivable topics of the
    /// wallets that their names name. Returns up to which position; `None` when there is nothing to do or it was cancelled.
    /// Their private stores are queried only since the stream has been watched.
    pub(crate) async fn read_back(
        &self,
        after: Position,
        watched_since_ns: u64,
        stop: &CancellationToken,
    ) -> Result<Option<Position>> {
        let topics = self.known.topics_since(after, QUERY_TOPICS as i64, &STORED).await?;
        let Some(reached) = topics.last().map(|(_, position)| *position) else { return Ok(None) };
        let (mut names, mut private_stores) = (HashSet::new(), HashSet::new());
        for (name, _) in topics {
            let topic = wire::Topic::parse(&name);
            let pair = topic.participants().map(|(a, b)| [a, b]).into_iter().flatten();
            for account in topic.owner().into_iter().chain(pair) {
                names.extend(topics_of(account));
                private_stores.insert(private_store_of(account));
            }
            if topic.kind() == TopicKind::PrivateStore {
                private_stores.insert(name);
            } else {
                names.insert(name);
            }
        }
        // Edges are not followed: that is what a crawl is for.
        for (names, from_ns) in [(names, 0), (private_stores, watched_since_ns)] {
            let names = names.into_iter().collect();
            if self.ask_all(names, from_ns, &mut Followed::closed(), stop).await?
                == Ended::Cancelled
            {
                return Ok(None);
            }
        }
        Ok(Some(reached))
    }
}

/// The shard under which a gap of one topic is reported.
fn shard_of(topic: &str) -> String {
    format!("{TOPIC}{topic}")
}

const TOPIC: &str = "topic ";

/// What a wallet is asked for when a gap is closed. The first sweep of all closes none: it looks at all of history.
fn asked_of(account: Address, from_ns: u64) -> impl Iterator<Item = String> {
    let private_store = (from_ns > 0).then(|| private_store_of(account));
    topics_of(account).into_iter().chain(private_store)
}

/// Wallets and pairs that swept envelopes name.
#[derive(Default)]
struct Followed {
    closed: bool,
    most: usize,
    overflowed: bool,
    from_ns: u64,
    accounts: HashSet<Address>,
    pairs: HashSet<(Address, Address)>,
    waiting: Vec<String>,
    beyond: (Vec<Address>, Vec<String>),
}

impl Followed {
    fn since(from_ns: u64, most: usize) -> Self {
        Self { from_ns, most, ..Self::default() }
    }

    /// Follows no wallet.
    fn closed() -> Self {
        Self { closed: true, ..Self::default() }
    }

    fn note(&mut self, envelope: &wire::Envelope, verifier: &Verifier) {
        if self.closed {
            return;
        }
        let Some(edge) = edge(envelope, verifier) else { return };
        let pair = (edge.sender.min(edge.recipient), edge.sender.max(edge.recipient));
        if self.accounts.len() + self.pairs.len() >= self.most {
            let new =
                [edge.sender, edge.recipient].into_iter().filter(|a| !self.accounts.contains(a));
            self.beyond.0.extend(new);
            if !edge.invitation && !self.pairs.contains(&pair) {
                self.beyond.1.push(topic::name::direct_message(pair.0, pair.1));
            }
            return;
        }
        for account in [edge.sender, edge.recipient] {
            if self.accounts.insert(account) {
                self.waiting.extend(asked_of(account, self.from_ns));
            }
        }
        if !edge.invitation && self.pairs.insert(pair) {
            self.waiting.push(topic::name::direct_message(pair.0, pair.1));
        }
    }

    /// Wallets, and topics of pairs, for which there was no room since the last call.
    fn beyond(&mut self) -> (Vec<Address>, Vec<String>) {
        std::mem::take(&mut self.beyond)
    }

    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wallets_for_which_there_is_no_room_are_not_dropped() {
        let envelopes = crate::source::message_api::tests::invitations();
        let verifier = Verifier::default();
        let note_all = |most| {
            let mut followed = Followed::since(1, most);
            envelopes.iter().for_each(|envelope| followed.note(envelope, &verifier));
            followed
        };
        let all = note_all(usize::MAX);
        assert!(all.accounts.len() > 4 && !all.overflowed);
        let mut some = note_all(4);
        assert!(!some.beyond().0.is_empty() && some.accounts.len() + some.pairs.len() < 8);
        let mut exactly = note_all(all.accounts.len() + all.pairs.len());
        assert_eq!(exactly.beyond(), (Vec::new(), Vec::new()));
    }
}
