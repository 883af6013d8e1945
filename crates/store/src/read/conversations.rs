//! Conversations: dm and m- topics.

use uuid::Uuid;
use wire::{Address, Generation};

use super::{
    page::{Key, Keyed, Page, PageRequest, TieBreaker, TieBreakerKind},
    row::Columns,
    snapshot::Snapshot,
    statement::{Branch, Filter, List},
};
use crate::{error::Result, time};

/// One conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The key of its topic.
    pub key: Uuid,
    /// The name of its topic.
    pub name: String,
    /// V1 for dm topics, V2 for others.
    pub generation: Generation,
    /// Both wallets of a dm topic.
    pub participants: Option<(Address, Address)>,
    /// The number of messages.
    pub message_count: u64,
    /// When the first was sent.
    pub first_message_ns: Option<u64>,
    /// When the last was sent.
    pub last_message_ns: Option<u64>,
}

macro_rules! columns {
    () => {
        "key, name, generation, a, b, message_count, first_message_ns, last_message_ns"
    };
}

impl Conversation {
    fn from_columns(columns: &mut Columns<'_>) -> Result<Conversation> {
        columns.table("derived.conversations");
        Ok(Conversation {
            key: columns.get()?,
            name: columns.get()?,
            generation: columns.generation()?,
            participants: columns.maybe_address()?.zip(columns.maybe_address()?),
            message_count: columns.count()?,
            first_message_ns: columns.maybe_time()?,
            last_message_ns: columns.maybe_time()?,
        })
    }
}

/// What conversations are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConversationOrder {
    /// The time of the last message, which moves with every new one; conversations without any count as the oldest.
    LastMessage,
    /// The number of messages; it moves with every new one.
    MessageCount,
}

impl Keyed<ConversationOrder> for Conversation {
    const TIE_BREAKER: TieBreakerKind = TieBreakerKind::Uuid;

    fn key(&self, order: ConversationOrder) -> Key {
        let sort = match order {
            ConversationOrder::LastMessage => self.last_message_ns.map(time::to_db),
            ConversationOrder::MessageCount => {
                Some(i64::try_from(self.message_count).unwrap_or(i64::MAX))
            }
        };
        Key { sort, tie_breaker: TieBreaker::Uuid(self.key) }
    }
}

/// A filter of conversations; its fields add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationFilter {
    /// With this wallet in the name of the topic.
    pub participant: Option<Address>,
    /// V1 or V2.
    pub generation: Option<Generation>,
    /// With a message sent at this time or later.
    pub active_after: Option<u64>,
}

impl ConversationFilter {
    fn filter(&self, mut filter: Filter) -> Filter {
        filter.and_part("generation = ?", self.generation.map(|g| g.code()));
        filter.and_if("last_message_ns >= ?", self.active_after.map(time::to_db));
        let participant = self.participant.map(|participant| filter.bind(participant));
        let mut participants = filter.parent().into_iter().chain(participant);
        // The first decides which indexes are read; another one only filters their rows.
        if let Some(participant) = participants.next() {
            filter.branch(Branch::default().and("a = ?", participant));
            filter.branch(
                Branch::default()
                    .and("b = ?", participant)
                    .and("a is distinct from ?", participant),
            );
        }
        for participant in participants {
            filter.fill("(a = ? or b = ?)", participant);
        }
        filter
    }
}

fn list(order: ConversationOrder) -> List {
    let (sort, nullable) = match order {
        ConversationOrder::LastMessage => ("last_message_ns", true),
        ConversationOrder::MessageCount => ("message_count", false),
    };
    List {
        columns: columns!(),
        table: "derived.conversations",
        sort: Some(sort),
        nullable,
        tie_breaker: "key",
        total: Some("conversations"),
        with: None,
    }
}

impl Snapshot {
    /// A page of conversations.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn conversations(
        &self,
        filter: &ConversationFilter,
        request: &PageRequest<ConversationOrder>,
    ) -> Result<Page<Conversation>> {
        let conditions = filter.filter(Filter::default());
        self.page(&list(request.order), conditions, request, Conversation::from_columns).await
    }

    /// The number of conversations.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_conversations(&self, filter: &ConversationFilter) -> Result<u64> {
        let conditions = filter.filter(Filter::default());
        self.count(&list(ConversationOrder::MessageCount), conditions).await
    }

    /// A page of the conversations of each of these wallets, in their order: at most a page and one row a wallet are read.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn conversations_of(
        &self,
        participants: &[Address],
        filter: &ConversationFilter,
        request: &PageRequest<ConversationOrder>,
    ) -> Result<Vec<Page<Conversation>>> {
        let conditions = filter.filter(Filter::under(participants));
        self.pages(&list(request.order), conditions, request, Conversation::from_columns).await
    }

    /// The number of conversations of each of these wallets, in their order.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_conversations_of(
        &self,
        participants: &[Address],
        filter: &ConversationFilter,
    ) -> Result<Vec<u64>> {
        let conditions = filter.filter(Filter::under(participants));
        self.counts(&list(ConversationOrder::MessageCount), conditions).await
    }

    /// The conversations on the topics that have these keys.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn conversations_by_key(&self, keys: &[Uuid]) -> Result<Vec<Conversation>> {
        self.find_by(
            concat!("select ", columns!(), " from derived.conversations where key {is}"),
            keys,
            Vec::new(),
            Conversation::from_columns,
        )
        .await
    }
}
