//! Conversations: dm and m- topics.

use tokio_postgres::Row;
use uuid::Uuid;
use wire::{Address, Generation};

use super::{
    page::{Key, Keyed, Page, PageRequest, Tie, TieKind},
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
    /// How many messages.
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
    fn from_row(row: &Row) -> Result<Conversation> {
        let mut columns = Columns::of(row, "derived.conversations");
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
    /// When the last message was sent; those without any count as older than all others.
    LastMessage,
    /// How many messages.
    MessageCount,
}

impl Keyed<ConversationOrder> for Conversation {
    const TIE: TieKind = TieKind::Uuid;

    fn key(&self, order: ConversationOrder) -> Key {
        let sort = match order {
            ConversationOrder::LastMessage => self.last_message_ns.map(time::to_db),
            ConversationOrder::MessageCount => {
                Some(i64::try_from(self.message_count).unwrap_or(i64::MAX))
            }
        };
        Key { sort, tie: Tie::Uuid(self.key) }
    }
}

/// Which conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConversationFilter {
    /// Whose topic names this wallet.
    pub participant: Option<Address>,
    /// V1 or V2.
    pub generation: Option<Generation>,
    /// With a message sent at this time or later.
    pub active_after: Option<u64>,
}

impl ConversationFilter {
    fn filter(&self) -> Filter {
        let mut filter = Filter::default();
        filter.and_if("generation = ?", self.generation.map(|g| g.code()));
        filter.and_if("last_message_ns >= ?", self.active_after.map(time::to_db));
        if let Some(participant) = self.participant {
            let participant = filter.bind(participant.as_bytes().to_vec());
            filter.branch(Branch::default().and("a = ?", participant));
            filter.branch(
                Branch::default()
                    .and("b = ?", participant)
                    .and("a is distinct from ?", participant),
            );
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
        tie: "key",
        with: None,
    }
}

impl Snapshot {
    /// A page of conversations.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn conversations(
        &self,
        filter: &ConversationFilter,
        request: &PageRequest<ConversationOrder>,
    ) -> Result<Page<Conversation>> {
        self.page(&list(request.order), filter.filter(), request, Conversation::from_row).await
    }

    /// How many conversations.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn count_conversations(&self, filter: &ConversationFilter) -> Result<u64> {
        self.count(&list(ConversationOrder::MessageCount), filter.filter()).await
    }

    /// The conversations on the topics that have these keys.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn conversations_by_key(&self, keys: &[Uuid]) -> Result<Vec<Conversation>> {
        self.find(
            concat!("select ", columns!(), " from derived.conversations where key = any($1)"),
            vec![Box::new(keys.to_vec())],
            Conversation::from_row,
        )
        .await
    }
}
