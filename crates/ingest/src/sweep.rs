//! Closing gaps: asks the node for what its stream may have left out.
//!
//! A node's stream has no memory, so each (re)subscription is followed by a sweep: every topic that we know is asked for
//! everything since the stream was last whole, less an overlap for senders whose clocks are behind. What the gap itself
//! brought into being is followed, too: every wallet that we know, and every one that a swept envelope names, is asked for
//! under the names that follow from its address.
//!
//! Known topics are read from a derived table, which lags behind the log, which lags behind the queue. A sweep does not
//! wait for them: a topic that it misses on that account has its first envelope behind the position `read-back-to`, and
//! [`Sweeper::read_back`] reads it from its beginning as soon as the table has it. So it does a topic whose name cannot be
//! derived and that came into being during a gap, once the topic is seen again. A rebuild of the table changes nothing: the
//! table that is served stays until the new one has caught up.

use std::collections::HashSet;

use store::{Position, Store};
use tokio_util::sync::CancellationToken;
use wire::{Address, TopicKind, Verifier, topic};

use crate::ask::Asker;
use crate::edges::{edge, private_store_of, topics_of};
use crate::error::Result;
use crate::feed::Feed;
use crate::source::Trouble;
use crate::source::message_api::{QUERY_TOPICS, Question};

/// What legacy nodes store.
const STORED: [TopicKind; 9] = [
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
/// Wallets that one sweep follows beyond those of the table: a bound on memory, not a wish.
const MAX_FOLLOWED: usize = 200_000;

/// Who asks and where the answers go.
#[derive(Clone)]
pub(crate) struct Sweeper {
    pub(crate) asker: Asker,
    pub(crate) feed: Feed,
    pub(crate) store: Store,
    pub(crate) verifier: std::sync::Arc<Verifier>,
}

/// Cancelled, or done with everything confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Complete,
    Cancelled,
}

impl Sweeper {
    /// Asks for everything since `from_ns`. When it is complete, everything that it found is confirmed by the broker.
    pub(crate) async fn sweep(&self, from_ns: u64, token: &CancellationToken) -> Result<Ended> {
        let mut followed = Followed::since(from_ns);
        let mut after: Option<String> = None;
        loop {
            let names = self.store.known_topics(after.as_deref(), KNOWN_PAGE, &STORED).await?;
            let Some(last) = names.last().cloned() else { break };
            if self.ask_all(names, from_ns, &mut followed, token).await? == Ended::Cancelled {
                return Ok(Ended::Cancelled);
            }
            after = Some(last);
        }
        let mut after: Option<Address> = None;
        loop {
            let accounts = self.store.known_accounts(after, KNOWN_PAGE).await?;
            let Some(last) = accounts.last().copied() else { break };
            let names = accounts.iter().flat_map(|account| asked_of(*account, from_ns)).collect();
            if self.ask_all(names, from_ns, &mut followed, token).await? == Ended::Cancelled {
                return Ok(Ended::Cancelled);
            }
            after = Some(last);
        }
        loop {
            let names = followed.take();
            if names.is_empty() {
                return Ok(Ended::Complete);
            }
            if self.ask_all(names, from_ns, &mut followed, token).await? == Ended::Cancelled {
                return Ok(Ended::Cancelled);
            }
        }
    }

    /// Asks for these topics, many at a time, to the end, and waits until all of it is confirmed.
    async fn ask_all(
        &self,
        mut names: Vec<String>,
        from_ns: u64,
        followed: &mut Followed,
        token: &CancellationToken,
    ) -> Result<Ended> {
        while !names.is_empty() {
            let rest = names.split_off(names.len().min(QUERY_TOPICS));
            let chunk = std::mem::replace(&mut names, rest);
            if self.ask_chunk(chunk, from_ns, followed, token).await? == Ended::Cancelled {
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
        token: &CancellationToken,
    ) -> Result<Ended> {
        let mut work = vec![Question { topics: chunk, start_ns: from_ns, ..Question::default() }];
        let mut last = 0;
        while let Some(question) = work.pop() {
            let answer = match self.asker.ask(question.clone(), token).await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Ok(Ended::Cancelled),
                // Anyone can make up a topic; one that the node will not hear of must not hide its neighbours.
                Err(error) if error.trouble == Trouble::Refused && question.topics.len() > 1 => {
                    let mut first = question.clone();
                    let second = first.topics.split_off(first.topics.len() / 2);
                    work.push(Question { topics: second, ..question });
                    work.push(first);
                    continue;
                }
                Err(error) if error.trouble == Trouble::Refused => {
                    tracing::warn!(topic = ?question.topics.first(), %error, "a topic cannot be swept");
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            for envelope in &answer.envelopes {
                followed.note(envelope, &self.verifier);
            }
            metrics::counter!("xmtp_indexer_envelopes_swept_total")
                .increment(answer.envelopes.len() as u64);
            // One answer may be on its way while the next is asked for, no more: the spill belongs to the stream.
            let previous = last;
            last = self.feed.put(answer.envelopes, token).await?.max(last);
            self.feed.publisher.confirmed(previous).await?;
            if let Some(next) = answer.next {
                work.push(Question { after: Some(next), ..question });
            }
        }
        self.feed.publisher.confirmed(last).await?;
        Ok(Ended::Complete)
    }

    /// Reads topics back to their beginning that were first seen after this position, with the derivable topics of the
    /// wallets that their names name. Tells up to which position; `None` when there is nothing to do or it was cancelled.
    /// Their private stores are asked for only since the stream has been watched.
    pub(crate) async fn read_back(
        &self,
        after: Position,
        watched_since_ns: u64,
        token: &CancellationToken,
    ) -> Result<Option<Position>> {
        let topics = self.store.topics_first_seen(after, QUERY_TOPICS as i64, &STORED).await?;
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
            if self.ask_all(names, from_ns, &mut Followed::closed(), token).await?
                == Ended::Cancelled
            {
                return Ok(None);
            }
        }
        Ok(Some(reached))
    }
}

/// What a wallet is asked for when a gap is closed. The first sweep of all closes none: it looks at all of history.
fn asked_of(account: Address, from_ns: u64) -> impl Iterator<Item = String> {
    let private_store = (from_ns > 0).then(|| private_store_of(account));
    topics_of(account).into_iter().chain(private_store)
}

/// Wallets and pairs that swept envelopes name.
#[derive(Default)]
struct Followed {
    closed: bool,
    from_ns: u64,
    accounts: HashSet<Address>,
    pairs: HashSet<(Address, Address)>,
    waiting: Vec<String>,
}

impl Followed {
    fn since(from_ns: u64) -> Self {
        Self { from_ns, ..Self::default() }
    }

    /// Follows nobody.
    fn closed() -> Self {
        Self { closed: true, ..Self::default() }
    }

    fn note(&mut self, envelope: &wire::Envelope, verifier: &Verifier) {
        if self.closed || self.accounts.len() + self.pairs.len() >= MAX_FOLLOWED {
            return;
        }
        let Some(edge) = edge(envelope, verifier) else { return };
        for account in [edge.sender, edge.recipient] {
            if self.accounts.insert(account) {
                self.waiting.extend(asked_of(account, self.from_ns));
            }
        }
        let pair = (edge.sender.min(edge.recipient), edge.sender.max(edge.recipient));
        if !edge.invitation && self.pairs.insert(pair) {
            self.waiting.push(topic::name::direct_message(pair.0, pair.1));
        }
    }

    fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.waiting)
    }
}
