//! V1 and V2 messages: one row each, however many topics hold a copy of the bytes.

use uuid::Uuid;
use wire::{Address, Generation, Verification};

use super::{
    page::{Key, Keyed, Page, PageRequest, Tie, TieKind, TimeOrder},
    row::{Columns, DbKey as _},
    snapshot::Snapshot,
    statement::{Filter, List},
};
use crate::{error::Result, log::Position, time};

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The key of its payload, which all copies share.
    pub id: Uuid,
    /// The key of the conversation's topic.
    pub conversation: Option<Uuid>,
    /// When it was sent, as the header says.
    pub sent_ns: u64,
    /// Where the first copy stands.
    pub first_position: Position,
    /// Who sent it, as a V1 header claims.
    pub sender: Option<Address>,
    /// To whom, as a V1 header claims.
    pub recipient: Option<Address>,
    /// V1 or V2.
    pub generation: Generation,
    /// What the signatures in the header say.
    pub verification: Verification,
    /// The sender's wish about notifications.
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
    const TIE: TieKind = TieKind::Uuid;

    fn key(&self, _: TimeOrder) -> Key {
        Key { sort: Some(time::to_db(self.sent_ns)), tie: Tie::Uuid(self.id) }
    }
}

/// Which messages.
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
        filter.and_if("sender = ?", self.sender.map(|a| a.db()));
        filter.and_if("recipient = ?", self.recipient.map(|a| a.db()));
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
    tie: "id",
    position: Some("first_position"),
    total: Some("messages"),
    with: None,
};

impl Snapshot {
    /// A page of messages.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn messages(
        &self,
        filter: &MessageFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Page<Message>> {
        self.page(&LIST, filter.filter(Filter::default()), request, Message::from_columns).await
    }

    /// How many messages.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn count_messages(&self, filter: &MessageFilter) -> Result<u64> {
        self.count(&LIST, filter.filter(Filter::default())).await
    }

    /// A page of the messages in each of these conversations, in their order: at most a page and one row a conversation are
    /// read.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn messages_of(
        &self,
        conversations: &[Uuid],
        filter: &MessageFilter,
        request: &PageRequest<TimeOrder>,
    ) -> Result<Vec<Page<Message>>> {
        let conditions = filter.filter(Filter::under(conversations));
        self.pages(&LIST, conditions, request, Message::from_columns).await
    }

    /// How many messages each of these conversations has, in their order.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn count_messages_of(
        &self,
        conversations: &[Uuid],
        filter: &MessageFilter,
    ) -> Result<Vec<u64>> {
        self.counts(&LIST, filter.filter(Filter::under(conversations))).await
    }

    /// The messages that have these ids.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn messages_by_id(&self, ids: &[Uuid]) -> Result<Vec<Message>> {
        self.find_by(
            concat!(
                "select ",
                columns!(),
                " from derived.messages where id {is} and first_position <= {head}"
            ),
            ids,
            Vec::new(),
            Message::from_columns,
        )
        .await
    }
}
