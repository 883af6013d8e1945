//! V1 and V2 messages: one row each, however many topics hold a copy of the bytes. A message is named by the time in its
//! header and the key of its payload.

use uuid::Uuid;
use wire::{Address, Generation, Verification};

use super::{
    page::{Key, Keyed, Page, PageRequest, TieBreaker, TieBreakerKind, TimeOrder},
    row::Columns,
    snapshot::Snapshot,
    statement::{Filter, List, Statement},
};
use crate::{error::Result, log::Position, time};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The key of its payload, which all copies share.
    pub id: Uuid,
    /// The key of the conversation's topic.
    pub conversation: Uuid,
    /// When it was sent, as the header claims.
    pub sent_ns: u64,
    /// The position of the first copy.
    pub first_position: Position,
    /// The sender, as a V1 header claims.
    pub sender: Option<Address>,
    /// The recipient, as a V1 header claims.
    pub recipient: Option<Address>,
    /// V1 or V2.
    pub generation: Generation,
    /// What the signatures in the header prove.
    pub verification: Verification,
    /// Whether the sender requests a notification.
    pub should_push: Option<bool>,
    /// Is there a tag by which members know the sender?
    pub has_sender_hmac: bool,
}

macro_rules! columns {
    () => {
        "id, conversation, sent_ns, first_position, sender, recipient, generation, verification, should_push, \
         has_sender_hmac"
    };
}

impl Message {
    fn from_columns(columns: &mut Columns<'_>) -> Result<Message> {
        columns.table("derived.messages");
        Ok(Message {
            id: columns.get()?,
            conversation: columns.get()?,
            sent_ns: columns.time()?,
            first_position: Position(columns.get()?),
            sender: columns.maybe_address()?,
            recipient: columns.maybe_address()?,
            generation: columns.generation()?,
            verification: columns.verification()?,
            should_push: columns.get()?,
            has_sender_hmac: columns.get()?,
        })
    }
}

impl Keyed<TimeOrder> for Message {
    const TIE_BREAKER: TieBreakerKind = TieBreakerKind::Uuid;

    fn key(&self, _: TimeOrder) -> Key {
        Key { sort: Some(time::to_db(self.sent_ns)), tie_breaker: TieBreaker::Uuid(self.id) }
    }
}

/// A filter of messages; its fields add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageFilter {
    /// Sent by.
    pub sender: Option<Address>,
    /// Sent to.
    pub recipient: Option<Address>,
    /// In this conversation.
    pub conversation: Option<Uuid>,
    /// V1 or V2.
    pub generation: Option<Generation>,
    /// Sent at this time or later.
    pub after: Option<u64>,
    /// Sent before this time.
    pub before: Option<u64>,
}

impl MessageFilter {
    fn filter(&self, mut filter: Filter) -> Filter {
        if let Some(conversation) = filter.parent() {
            filter.fill("conversation = ?", conversation);
        }
        filter.and_if("sender = ?", self.sender);
        filter.and_if("recipient = ?", self.recipient);
        filter.and_if("conversation = ?", self.conversation);
        filter.and_part("generation = ?", self.generation.map(|g| g.code()));
        filter.and_if("sent_ns >= ?", self.after.map(time::to_db));
        filter.and_if("sent_ns < ?", self.before.map(time::to_db));
        filter
    }
}

const LIST: List = List {
    columns: columns!(),
    table: "derived.messages",
    sort: Some("sent_ns"),
    nullable: false,
    tie_breaker: "id",
    total: Some("messages"),
    with: None,
};

impl Snapshot {
    /// A page of messages.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn messages(
        &self,
        filter: &MessageFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Page<Message>> {
        self.page(&LIST, filter.filter(Filter::default()), request, Message::from_columns).await
    }

    /// The number of messages.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_messages(&self, filter: &MessageFilter) -> Result<u64> {
        self.count(&LIST, filter.filter(Filter::default())).await
    }

    /// A page of the messages in each of these conversations, in their order: at most a page and one row a conversation are
    /// read.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn messages_of(
        &self,
        conversations: &[Uuid],
        filter: &MessageFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Vec<Page<Message>>> {
        let conditions = filter.filter(Filter::under(conversations));
        self.pages(&LIST, conditions, request, Message::from_columns).await
    }

    /// The number of messages in each of these conversations, in their order.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_messages_of(
        &self,
        conversations: &[Uuid],
        filter: &MessageFilter,
    ) -> Result<Vec<u64>> {
        self.counts(&LIST, filter.filter(Filter::under(conversations))).await
    }

    /// The messages that have these names: the time in the header, and the key of the payload.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn messages_by_id(&self, ids: &[(u64, Uuid)]) -> Result<Vec<Message>> {
        let statement = match ids {
            [(sent_ns, id)] => Statement::new(
                concat!(
                    "select ",
                    columns!(),
                    " from derived.messages where sent_ns = $1 and id = $2"
                ),
                vec![time::to_db(*sent_ns).into(), (*id).into()],
            ),
            ids => {
                let times: Vec<i64> =
                    ids.iter().map(|(sent_ns, _)| time::to_db(*sent_ns)).collect();
                let keys: Vec<Uuid> = ids.iter().map(|(_, id)| *id).collect();
                Statement::new(
                    concat!(
                        "select found.* from unnest($1::bigint[], $2::uuid[]) wanted(sent_ns, id)
                          cross join lateral (
                                select ",
                        columns!(),
                        "         from derived.messages m
                                 where m.sent_ns = wanted.sent_ns and m.id = wanted.id limit 1) found"
                    ),
                    vec![times.into(), keys.into()],
                )
            }
        };
        self.rows(statement).await?.read(Message::from_columns)
    }

    /// The messages that the envelopes at these positions hold, each with the position: the first copy of a message, or a
    /// later one.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn messages_of_envelopes(
        &self,
        positions: &[Position],
    ) -> Result<Vec<(Position, Message)>> {
        self.find_by(
            concat!(
                "select wanted.key, found.* from {wanted}
                  cross join lateral (
                        (select ",
                columns!(),
                "          from derived.messages where first_position = wanted.key limit 1)
                         union all
                        (select later.* from (
                                select sent_ns as s, id as i from derived.message_copies
                                 where position = wanted.key limit 1) copy
                          cross join lateral (
                                select ",
                columns!(),
                "                 from derived.messages
                                 where sent_ns = copy.s and id = copy.i limit 1) later)) found"
            ),
            positions,
            Vec::new(),
            |columns| Ok((Position(columns.get()?), Message::from_columns(columns)?)),
        )
        .await
    }
}
