//! Topics.

use uuid::Uuid;
use wire::{Address, TopicKind};

use super::{
    page::{Key, Keyed, Page, PageRequest, TieBreaker, TieBreakerKind},
    row::Columns,
    snapshot::Snapshot,
    statement::{Branch, Filter, List},
};
use crate::{error::Result, time};

/// A topic, and counts of what was published on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The first half of the hash of its bytes: see [`crate::log::topic_key`].
    pub key: Uuid,
    /// The text form of its bytes: see [`wire::topic::to_text`].
    pub name: String,
    /// Its kind.
    pub kind: TopicKind,
    /// The wallet in its name; of a dm topic the first.
    pub owner: Option<Address>,
    /// The second wallet of a dm topic.
    pub peer: Option<Address>,
    /// The number of envelopes.
    pub envelope_count: u64,
    /// Bytes of messages.
    pub byte_count: u64,
    /// The smallest time of its envelopes.
    pub first_seen_ns: u64,
    /// The largest.
    pub last_seen_ns: u64,
}

macro_rules! columns {
    () => {
        "key, name, kind, owner, peer, envelope_count, byte_count, n.first_seen_ns, last_seen_ns"
    };
}

macro_rules! names_and_counts {
    () => {
        "derived.topic_names n join derived.topic_counts c using (key)"
    };
}

impl Topic {
    fn from_columns(columns: &mut Columns<'_>) -> Result<Topic> {
        columns.table("derived.topic_names");
        Ok(Topic {
            key: columns.get()?,
            name: columns.get()?,
            kind: columns.topic_kind()?,
            owner: columns.maybe_address()?,
            peer: columns.maybe_address()?,
            envelope_count: columns.count()?,
            byte_count: columns.count()?,
            first_seen_ns: columns.time()?,
            last_seen_ns: columns.time()?,
        })
    }
}

/// What topics are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicOrder {
    /// The latest time of an envelope; it moves with every new one.
    LastSeen,
    /// The earliest.
    FirstSeen,
    /// The number of envelopes; it moves with every new one.
    EnvelopeCount,
}

impl Keyed<TopicOrder> for Topic {
    const TIE_BREAKER: TieBreakerKind = TieBreakerKind::Uuid;

    fn key(&self, order: TopicOrder) -> Key {
        let sort = match order {
            TopicOrder::LastSeen => time::to_db(self.last_seen_ns),
            TopicOrder::FirstSeen => time::to_db(self.first_seen_ns),
            TopicOrder::EnvelopeCount => i64::try_from(self.envelope_count).unwrap_or(i64::MAX),
        };
        Key { sort: Some(sort), tie_breaker: TieBreaker::Uuid(self.key) }
    }
}

/// A filter of topics; its fields add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicFilter {
    /// Of one of these kinds.
    pub kinds: Option<Vec<TopicKind>>,
    /// With this wallet in their name.
    pub account: Option<Address>,
    /// With a name that begins like this.
    pub name_starts_with: Option<String>,
    /// With an envelope of this time or later.
    pub active_after: Option<u64>,
}

impl TopicFilter {
    fn filter(&self, mut filter: Filter, order: Option<TopicOrder>) -> Filter {
        let kinds =
            self.kinds.as_ref().map(|kinds| kinds.iter().map(|k| k.code()).collect::<Vec<_>>());
        match kinds {
            // One scan a kind, each in this order, for which the names have an index.
            Some(kinds)
                if order == Some(TopicOrder::FirstSeen)
                    && filter.parent().is_none()
                    && self.account.is_none() =>
            {
                let kinds = filter.bind(kinds);
                filter.branch(Branch::default().each(
                    "(select distinct unnest(?::smallint[]) as kind) wanted",
                    kinds,
                    "n.kind = wanted.kind",
                ));
            }
            kinds => filter.and_if("n.kind = any(?)", kinds),
        }
        filter.and_if("last_seen_ns >= ?", self.active_after.map(time::to_db));
        if let Some(prefix) = &self.name_starts_with {
            if prefix.contains('\0') {
                // No name contains a NUL, and PostgreSQL takes no text with one.
                filter.only("false");
            } else {
                // A range instead of a pattern: it can be sought in the index whatever the value.
                filter.and("name collate \"C\" >= ?", prefix.clone());
                filter.and_if("name collate \"C\" < ?", after_prefix(prefix));
            }
        }
        let account = self.account.map(|account| filter.bind(account));
        let mut named = filter.parent().into_iter().chain(account);
        // The first decides which indexes are read; another one only filters their rows.
        if let Some(account) = named.next() {
            filter.branch(Branch::default().and("owner = ?", account));
            filter.branch(
                Branch::default().and("peer = ?", account).and("owner is distinct from ?", account),
            );
        }
        for account in named {
            filter.fill("(owner = ? or peer = ?)", account);
        }
        filter
    }
}

impl TopicFilter {
    /// The list to count. Every name has one row of counts, so counting names is enough unless the filter is about counts.
    fn counted(&self) -> List {
        let table = if self.active_after.is_none() { NAMES } else { NAMES_AND_COUNTS };
        List { table, ..list(TopicOrder::FirstSeen) }
    }
}

/// The smallest text above everything that begins with `prefix`; none when nothing is above.
fn after_prefix(prefix: &str) -> Option<String> {
    let mut text = prefix.to_owned();
    while let Some(last) = text.pop() {
        // The next character; there is none in the gap of the surrogates.
        let next = match u32::from(last) + 1 {
            0xD800 => Some('\u{E000}'),
            code => char::from_u32(code),
        };
        if let Some(next) = next {
            text.push(next);
            return Some(text);
        }
    }
    None
}

const NAMES: &str = "derived.topic_names n";
const NAMES_AND_COUNTS: &str = names_and_counts!();

fn list(order: TopicOrder) -> List {
    let (sort, tie_breaker) = match order {
        TopicOrder::LastSeen => ("c.last_seen_ns", "c.key"),
        TopicOrder::FirstSeen => ("n.first_seen_ns", "n.key"),
        TopicOrder::EnvelopeCount => ("c.envelope_count", "c.key"),
    };
    List {
        columns: columns!(),
        table: NAMES_AND_COUNTS,
        sort: Some(sort),
        nullable: false,
        tie_breaker,
        total: Some("topics"),
        with: None,
    }
}

impl Snapshot {
    /// A page of topics.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn topics(
        &self,
        filter: &TopicFilter,
        request: &PageRequest<TopicOrder>,
    ) -> Result<Page<Topic>> {
        self.page(
            &list(request.order),
            filter.filter(Filter::default(), Some(request.order)),
            request,
            Topic::from_columns,
        )
        .await
    }

    /// The number of topics.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_topics(&self, filter: &TopicFilter) -> Result<u64> {
        self.count(&filter.counted(), filter.filter(Filter::default(), None)).await
    }

    /// A page of the topics that have each of these wallets in their name, in their order: at most a page and one row a wallet
    /// are read.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn topics_of(
        &self,
        accounts: &[Address],
        filter: &TopicFilter,
        request: &PageRequest<TopicOrder>,
    ) -> Result<Vec<Page<Topic>>> {
        let conditions = filter.filter(Filter::under(accounts), Some(request.order));
        self.pages(&list(request.order), conditions, request, Topic::from_columns).await
    }

    /// The number of topics that have each of these wallets in their name, in their order.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_topics_of(
        &self,
        accounts: &[Address],
        filter: &TopicFilter,
    ) -> Result<Vec<u64>> {
        self.counts(&filter.counted(), filter.filter(Filter::under(accounts), None)).await
    }

    /// The topics that have these keys.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn topics_by_key(&self, keys: &[Uuid]) -> Result<Vec<Topic>> {
        self.find_by(
            concat!("select ", columns!(), " from ", names_and_counts!(), " where n.key {is}"),
            keys,
            Vec::new(),
            Topic::from_columns,
        )
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::after_prefix;

    #[test]
    fn what_comes_after_a_prefix_is_above_all_that_begin_with_it() {
        assert_eq!(after_prefix("/xmtp/0/dm-"), Some("/xmtp/0/dm.".into()));
        assert_eq!(after_prefix("a\u{D7FF}"), Some("a\u{E000}".into()));
        assert_eq!(after_prefix("a\u{10FFFF}"), Some("b".into()));
        assert_eq!(after_prefix("\u{10FFFF}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
