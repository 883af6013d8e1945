//! Envelopes. Lists read the narrow derived table and fetch from the log only what is shown of the page's rows;
//! messages are asked for by position, apart, and only by those who want them.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;
use wire::{Address, Digest, Generation, PayloadKind, TopicKind};

use super::{
    page::{Key, Keyed, Page, PageRequest, Tie, TieKind},
    row::{Columns, DbKey as _},
    snapshot::Snapshot,
    statement::{Branch, Filter, List, With},
};
use crate::{error::Result, log::Position, time};

/// In the text, because planners take a limit that is a parameter for a tenth of the table.
macro_rules! copies {
    () => {
        100
    };
}

/// How many copies of one payload a look-up tells at most, the first by position. Clients publish three.
pub const COPIES: i64 = copies!();

/// One envelope, without its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Where it stands.
    pub position: Position,
    /// The sender's clock.
    pub timestamp_ns: u64,
    /// The key of its topic.
    pub topic_key: Uuid,
    /// The key of its payload, shared by all copies.
    pub payload_key: Uuid,
    /// Bytes of the message.
    pub size: i32,
    /// What it holds.
    pub kind: PayloadKind,
    /// What its topic is for.
    pub topic_kind: TopicKind,
    /// Which generation of the network it is of.
    pub generation: Generation,
    /// SHA-256(topic ‖ message).
    pub digest: Digest,
    /// When this index stored it.
    pub indexed_at: DateTime<Utc>,
}

macro_rules! columns {
    ($table:literal) => {
        concat!(
            $table,
            "position, ",
            $table,
            "timestamp_ns, ",
            $table,
            "topic_key, ",
            $table,
            "payload_key, ",
            $table,
            "size, ",
            $table,
            "kind, ",
            $table,
            "topic_kind, ",
            $table,
            "generation"
        )
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
        })
    }
}

/// What envelopes are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeOrder {
    /// The position in the log: who reads forward sees every envelope once.
    Indexed,
    /// The sender's clock.
    Timestamp,
}

impl Keyed<EnvelopeOrder> for Envelope {
    const TIE: TieKind = TieKind::Position;

    fn key(&self, order: EnvelopeOrder) -> Key {
        let sort = match order {
            EnvelopeOrder::Indexed => None,
            EnvelopeOrder::Timestamp => Some(time::to_db(self.timestamp_ns)),
        };
        Key { sort, tie: Tie::Position(self.position.0) }
    }
}

/// Which envelopes.
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
    /// On topics whose name says this wallet.
    pub account: Option<Address>,
    /// Of this time or later.
    pub after: Option<u64>,
    /// Of before this time.
    pub before: Option<u64>,
}

/// Topics tell where their first and last envelopes stand, so that only the partitions between are looked into.
const ON_TOPIC: &str =
    "topic_key = topic.key and position between topic.first_position and topic.last_position";

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
            filter.branch(Branch::default().each(
                "(select key, first_position, last_position from derived.topics where key = ?) topic",
                topic,
                ON_TOPIC,
            ));
            filter.and_if("topic_key = any(?)", self.topics.clone());
            if let Some(account) = self.account {
                filter.and(
                    "exists (select from derived.topic_names n where n.key = topic_key and (n.owner = ? or n.peer = ?))",
                    account.db(),
                );
            }
        }
        match (&self.topics, self.account) {
            _ if parent.is_some() => {}
            (Some(topics), None) => {
                let topics = filter.bind(topics.clone());
                filter.branch(Branch::default().each(
                    "(select key, first_position, last_position from derived.topics where key = any(?)) topic",
                    topics,
                    ON_TOPIC,
                ));
            }
            (topics, Some(account)) => {
                let account = filter.bind(account.db());
                filter.branch(Branch::default().each(
                    "(select key, first_position, last_position from derived.topics where owner = ?
                      union select key, first_position, last_position from derived.topics where peer = ?) topic",
                    account,
                    ON_TOPIC,
                ));
                filter.and_if("topic_key = any(?)", topics.clone());
            }
            (None, None) => {}
        }
        match kinds {
            // One scan a kind, each in the order of the log; merged they are in it, too.
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
        columns: columns!(""),
        table: "derived.envelopes e",
        sort: match order {
            EnvelopeOrder::Indexed => None,
            EnvelopeOrder::Timestamp => Some("timestamp_ns"),
        },
        nullable: false,
        tie: "position",
        position: Some("position"),
        // The head itself: see `count_envelopes`.
        total: None,
        with: Some(With {
            columns: ", g.digest, g.indexed_at".into(),
            joins: " join ground.envelopes g on g.position = p.position".into(),
        }),
    }
}

impl Snapshot {
    /// A page of envelopes.
    ///
    /// # Errors
    /// When Postgres fails.
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
    /// When Postgres fails.
    pub async fn envelopes_of(
        &self,
        topics: &[Uuid],
        filter: &EnvelopeFilter,
        request: &PageRequest<EnvelopeOrder>,
    ) -> Result<Vec<Page<Envelope>>> {
        let conditions = filter.filter(Filter::under(topics), Some(request.order));
        self.pages(&list(request.order), conditions, request, Envelope::from_columns).await
    }

    /// How many envelopes. Of all, the head itself tells.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn count_envelopes(&self, filter: &EnvelopeFilter) -> Result<u64> {
        if *filter == EnvelopeFilter::default() {
            return match self.known() {
                Some(heads) => Ok(u64::try_from(heads.serving.0).unwrap_or(0)),
                None => {
                    let head =
                        self.find("select {head}::bigint", Vec::new(), |columns| columns.count());
                    Ok(head.await?.pop().unwrap_or(0))
                }
            };
        }
        let conditions = filter.filter(Filter::default(), None);
        self.count(&list(EnvelopeOrder::Indexed), conditions).await
    }

    /// How many envelopes stand on each of these topics, in their order.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn count_envelopes_of(
        &self,
        topics: &[Uuid],
        filter: &EnvelopeFilter,
    ) -> Result<Vec<u64>> {
        let conditions = filter.filter(Filter::under(topics), None);
        self.counts(&list(EnvelopeOrder::Indexed), conditions).await
    }

    /// The envelopes that stand at these positions.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn envelopes_by_position(&self, positions: &[Position]) -> Result<Vec<Envelope>> {
        self.find_by(
            concat!(
                "select ",
                columns!("e."),
                ", g.digest, g.indexed_at
                   from derived.envelopes e join ground.envelopes g using (position)
                  where position {is} and position <= {head}"
            ),
            positions,
            Vec::new(),
            Envelope::from_columns,
        )
        .await
    }

    /// The copies of these payloads, by position; of each payload the first [`COPIES`].
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn envelopes_by_payload(&self, payloads: &[Uuid]) -> Result<Vec<Envelope>> {
        self.find_by(
            concat!(
                "select ",
                columns!("e."),
                ", g.digest, g.indexed_at
                   from {wanted}
                  cross join lateral (
                        select * from derived.envelopes
                         where payload_key = wanted.key and position <= {head}
                         order by position limit ",
                copies!(),
                ") e
                   join ground.envelopes g on g.position = e.position
                  order by e.position"
            ),
            payloads,
            Vec::new(),
            Envelope::from_columns,
        )
        .await
    }

    /// The envelopes that have these digests, by position. One digest may have been published at several times.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn envelopes_by_digest(&self, digests: &[Digest]) -> Result<Vec<Envelope>> {
        self.find_by(
            concat!(
                "select ",
                columns!("e."),
                ", g.digest, g.indexed_at
                   from {wanted}
                  cross join lateral (
                        select position, digest, indexed_at from ground.envelopes
                         where digest = wanted.key and position <= {head}
                         order by position limit ",
                copies!(),
                ") g
                   join derived.envelopes e on e.position = g.position
                  order by e.position"
            ),
            digests,
            Vec::new(),
            Envelope::from_columns,
        )
        .await
    }

    /// The messages of the envelopes at these positions. Private stores have none here: the view leaves them out, by the
    /// beginning of the name, so that it holds for those under odd names, too; readers may see no more.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn messages_at(&self, positions: &[Position]) -> Result<Vec<(Position, Bytes)>> {
        self.find_by(
            "select position, message from ground.messages where position {is} and position <= {head}",
            positions,
            Vec::new(),
            |columns| {
                Ok((Position(columns.get()?), Bytes::copy_from_slice(columns.get::<&[u8]>()?)))
            },
        )
        .await
    }

    /// Why the payloads at these positions cannot be read.
    ///
    /// # Errors
    /// When Postgres fails.
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
