//! Envelopes. Lists and look-ups read the narrow derived table and never the log. Messages are read by position, in a
//! statement of their own, and only where they are shown.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;
use wire::{Address, Digest, Generation, PayloadKind, TopicKind};

use super::{
    page::{Key, Keyed, Page, PageRequest, TieBreaker, TieBreakerKind},
    row::Columns,
    snapshot::Snapshot,
    statement::{Branch, Filter, List, Statement},
};
use crate::{
    error::Result,
    log::{self, Position},
    time,
};

/// In texts, because planners take a limit that is a parameter for a tenth of the table.
macro_rules! copies {
    () => {
        100
    };
}
/// Without the first.
macro_rules! later_copies {
    () => {
        99
    };
}

/// The number of copies that a look-up returns at most, the first by position. Clients publish three.
pub const COPIES: i64 = copies!();

/// One envelope, without its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its position in the log.
    pub position: Position,
    /// The sender's clock.
    pub timestamp_ns: u64,
    /// The key of its topic.
    pub topic_key: Uuid,
    /// The key of its payload, shared by all copies.
    pub payload_key: Uuid,
    /// Bytes of the message.
    pub size: i32,
    /// The kind of its payload.
    pub kind: PayloadKind,
    /// The kind of its topic.
    pub topic_kind: TopicKind,
    /// The generation of the network that it is of.
    pub generation: Generation,
    /// SHA-256(topic ‖ message).
    pub digest: Digest,
    /// When this index stored it.
    pub indexed_at: DateTime<Utc>,
    /// The message was erased, by retention or on request.
    pub erased: bool,
}

macro_rules! columns {
    () => {
        "e.position, e.timestamp_ns, e.topic_key, e.payload_key, e.size, e.kind, e.topic_kind, e.generation, e.digest, \
         e.indexed_at, e.erased"
    };
}

impl Envelope {
    fn from_columns(columns: &mut Columns<'_>) -> Result<Envelope> {
        columns.table("derived.envelopes");
        Ok(Envelope {
            position: Position(columns.get()?),
            timestamp_ns: columns.time()?,
            topic_key: columns.get()?,
            payload_key: columns.get()?,
            size: columns.get()?,
            kind: columns.payload_kind()?,
            topic_kind: columns.topic_kind()?,
            generation: columns.generation()?,
            digest: columns.digest()?,
            indexed_at: columns.get()?,
            erased: columns.get()?,
        })
    }
}

/// What envelopes are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeOrder {
    /// The position in the log: a reader that pages forward sees every envelope once.
    Indexed,
    /// The sender's clock.
    Timestamp,
}

impl Keyed<EnvelopeOrder> for Envelope {
    const TIE_BREAKER: TieBreakerKind = TieBreakerKind::Position;

    fn key(&self, order: EnvelopeOrder) -> Key {
        let sort = match order {
            EnvelopeOrder::Indexed => None,
            EnvelopeOrder::Timestamp => Some(time::to_db(self.timestamp_ns)),
        };
        Key { sort, tie_breaker: TieBreaker::Position(self.position.0) }
    }
}

/// A filter of envelopes; its fields add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EnvelopeFilter {
    /// On one of the topics that have these keys.
    pub topics: Option<Vec<Uuid>>,
    /// On topics of one of these kinds.
    pub topic_kinds: Option<Vec<TopicKind>>,
    /// Holding one of these.
    pub kinds: Option<Vec<PayloadKind>>,
    /// Of one of these generations.
    pub generations: Option<Vec<Generation>>,
    /// On topics whose name contains this wallet.
    pub account: Option<Address>,
    /// Of this time or later.
    pub after: Option<u64>,
    /// Of before this time.
    pub before: Option<u64>,
}

impl EnvelopeFilter {
    fn filter(&self, mut filter: Filter, order: Option<EnvelopeOrder>) -> Filter {
        let topic_kinds = self.topic_kinds.as_ref();
        filter.and_if(
            "topic_kind = any(?)",
            topic_kinds.map(|kinds| kinds.iter().map(|k| k.code()).collect::<Vec<_>>()),
        );
        filter.and_if(
            "generation = any(?)",
            self.generations.as_ref().map(|g| g.iter().map(|g| g.code()).collect::<Vec<_>>()),
        );
        filter.and_if("timestamp_ns >= ?", self.after.map(time::to_db));
        filter.and_if("timestamp_ns < ?", self.before.map(time::to_db));
        let kinds = self.kinds.as_ref().map(|kinds| {
            let mut codes: Vec<i16> = kinds.iter().map(|k| k.code()).collect();
            codes.sort_unstable();
            codes.dedup();
            codes
        });
        let parent = filter.parent();
        let by_topic = parent.is_some() || self.topics.is_some() || self.account.is_some();
        if let Some(topic) = parent {
            filter.fill("topic_key = ?", topic);
            filter.and_if("topic_key = any(?)", self.topics.clone());
            if let Some(account) = self.account {
                filter.and(
                    "exists (select from derived.topic_names n where n.key = topic_key and (n.owner = ? or n.peer = ?))",
                    account,
                );
            }
        }
        match (self.topics.as_deref(), self.account) {
            _ if parent.is_some() => {}
            (Some([topic]), None) => filter.and("topic_key = ?", *topic),
            (Some(topics), None) => {
                let topics = filter.bind(topics.to_vec());
                filter.branch(Branch::default().each(
                    "(select distinct unnest(?::uuid[]) as key) topic",
                    topics,
                    "topic_key = topic.key",
                ));
            }
            (topics, Some(account)) => {
                let account = filter.bind(account);
                filter.branch(Branch::default().each(
                    "(select key from derived.topic_names where owner = ?
                      union select key from derived.topic_names where peer = ?) topic",
                    account,
                    "topic_key = topic.key",
                ));
                filter.and_if("topic_key = any(?)", topics.map(<[Uuid]>::to_vec));
            }
            (None, None) => {}
        }
        match kinds {
            // One scan a kind, each in the order of the log; merged they are in that order, too.
            Some(kinds) if !by_topic && order == Some(EnvelopeOrder::Indexed) => {
                let kinds = filter.bind(kinds);
                filter.branch(Branch::default().each(
                    "unnest(?::smallint[]) wanted(kind)",
                    kinds,
                    "e.kind = wanted.kind",
                ));
            }
            kinds => filter.and_if("kind = any(?)", kinds),
        }
        filter
    }
}

fn list(order: EnvelopeOrder) -> List {
    List {
        columns: columns!(),
        table: "derived.envelopes e",
        sort: match order {
            EnvelopeOrder::Indexed => None,
            EnvelopeOrder::Timestamp => Some("timestamp_ns"),
        },
        nullable: false,
        tie_breaker: "position",
        // See `count_envelopes`.
        total: None,
        with: None,
    }
}

impl Snapshot {
    /// A page of envelopes.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn envelopes(
        &self,
        filter: &EnvelopeFilter,
        request: &PageRequest<EnvelopeOrder>,
    ) -> Result<Page<Envelope>> {
        let conditions = filter.filter(Filter::default(), Some(request.order));
        self.page(&list(request.order), conditions, request, Envelope::from_columns).await
    }

    /// A page of the envelopes on each of these topics, in their order: at most a page and one row a topic are read.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn envelopes_of(
        &self,
        topics: &[Uuid],
        filter: &EnvelopeFilter,
        request: &PageRequest<EnvelopeOrder>,
    ) -> Result<Vec<Page<Envelope>>> {
        let conditions = filter.filter(Filter::under(topics), Some(request.order));
        self.pages(&list(request.order), conditions, request, Envelope::from_columns).await
    }

    /// The number of envelopes. All of them are as many as the position of the newest, because positions are dense.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_envelopes(&self, filter: &EnvelopeFilter) -> Result<u64> {
        if *filter == EnvelopeFilter::default() {
            let text = "select position from derived.watermarks where name = 'envelopes'";
            let count = self.find(text, Vec::new(), |columns| columns.count());
            return Ok(count.await?.pop().unwrap_or(0));
        }
        let conditions = filter.filter(Filter::default(), None);
        self.count(&list(EnvelopeOrder::Indexed), conditions).await
    }

    /// The number of envelopes on each of these topics, in their order.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_envelopes_of(
        &self,
        topics: &[Uuid],
        filter: &EnvelopeFilter,
    ) -> Result<Vec<u64>> {
        let conditions = filter.filter(Filter::under(topics), None);
        self.counts(&list(EnvelopeOrder::Indexed), conditions).await
    }

    /// The envelopes at these positions.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn envelopes_by_position(&self, positions: &[Position]) -> Result<Vec<Envelope>> {
        self.find_by(
            concat!("select ", columns!(), " from derived.envelopes e where position {is}"),
            positions,
            Vec::new(),
            Envelope::from_columns,
        )
        .await
    }

    /// The envelopes that have these digests, by position. Messages of one digest may have been published several times.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn envelopes_by_digest(&self, digests: &[Digest]) -> Result<Vec<Envelope>> {
        self.find_by(
            concat!(
                "select ",
                columns!(),
                " from {wanted}
                  cross join lateral (
                        select * from derived.envelopes
                         where digest = wanted.key order by position limit ",
                copies!(),
                ") e order by e.position"
            ),
            digests,
            Vec::new(),
            Envelope::from_columns,
        )
        .await
    }

    /// The envelopes that hold copies of these invitations, each with the id of its invitation; by position, and of each
    /// invitation the first [`COPIES`].
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn envelopes_of_invites(&self, ids: &[Uuid]) -> Result<Vec<(Uuid, Envelope)>> {
        self.find_by(
            concat!(
                "select wanted.key, ",
                columns!(),
                " from {wanted}
                  cross join lateral (
                        select position from derived.invite_copies
                         where id = wanted.key order by position limit ",
                copies!(),
                ") copy
                   join derived.envelopes e on e.position = copy.position
                  order by e.position"
            ),
            ids,
            Vec::new(),
            |columns| Ok((columns.get()?, Envelope::from_columns(columns)?)),
        )
        .await
    }

    /// The envelopes that hold copies of the messages that have these first positions, each with the first position of its
    /// message; by position, and of each message the first [`COPIES`].
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn envelopes_of_messages(
        &self,
        first_positions: &[Position],
    ) -> Result<Vec<(Position, Envelope)>> {
        self.find_by(
            concat!(
                "select wanted.key, ",
                columns!(),
                " from {wanted}
                  cross join lateral (
                        select wanted.key as position
                         union all
                        (select later.position from (
                                select sent_ns, id from derived.messages
                                 where first_position = wanted.key limit 1) m
                          cross join lateral (
                                select position from derived.message_copies
                                 where sent_ns = m.sent_ns and id = m.id order by position limit ",
                later_copies!(),
                ") later)) copy
                   join derived.envelopes e on e.position = copy.position
                  order by e.position"
            ),
            first_positions,
            Vec::new(),
            |columns| Ok((Position(columns.get()?), Envelope::from_columns(columns)?)),
        )
        .await
    }

    /// The messages of the envelopes at these positions. Those of private stores are left out, by the view that is read and
    /// by the beginning of their topics' names: readers may select nothing else of the log. So are those that were erased.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn messages_at(&self, positions: &[Position]) -> Result<Vec<(Position, Bytes)>> {
        // The log is the one table in partitions. With the positions in the text, planners leave out those that are not
        // needed; with parameters they would open and lock all of them.
        let positions: Vec<i64> = positions.iter().map(|position| position.0).collect();
        let among = if positions.is_empty() { "false".to_owned() } else { log::among(&positions) };
        let text = format!("select position, message from ground.messages where {among}");
        self.rows(Statement::once(text)).await?.read(|columns| {
            Ok((Position(columns.get()?), Bytes::copy_from_slice(columns.get::<&[u8]>()?)))
        })
    }

    /// Why the payloads at these positions cannot be read.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn undecodables_at(&self, positions: &[Position]) -> Result<Vec<(Position, String)>> {
        self.find_by(
            "select position, reason from derived.undecodables where position {is}",
            positions,
            Vec::new(),
            |columns| Ok((Position(columns.get()?), columns.get()?)),
        )
        .await
    }
}
