//! Wallets.

use wire::{Address, Generation};

use super::{
    page::{Key, Keyed, Page, PageRequest, TieBreaker, TieBreakerKind},
    row::Columns,
    snapshot::Snapshot,
    statement::{Filter, List},
    value::DbKey,
};
use crate::{error::Result, time};

/// A wallet that the name of a topic, a bundle or a header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its address.
    pub address: Address,
    /// Has it ever published a verified bundle?
    pub has_contact_bundle: bool,
    /// The earliest time of an envelope that names it.
    pub first_seen_ns: u64,
    /// The latest.
    pub last_seen_ns: u64,
}

macro_rules! columns {
    () => {
        "address, has_contact_bundle, first_seen_ns, last_seen_ns"
    };
}

pub(super) const COLUMNS: &str = columns!();
/// The number of these columns.
pub(super) const WIDTH: usize = 4;

impl Account {
    pub(super) fn from_columns(columns: &mut Columns<'_>) -> Result<Account> {
        columns.table("derived.accounts");
        Ok(Account {
            address: columns.address()?,
            has_contact_bundle: columns.get()?,
            first_seen_ns: columns.time()?,
            last_seen_ns: columns.time()?,
        })
    }
}

/// What accounts are sorted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountOrder {
    /// The earliest time of an envelope that names it.
    FirstSeen,
    /// The latest; it moves with every new envelope.
    LastSeen,
}

impl Keyed<AccountOrder> for Account {
    const TIE_BREAKER: TieBreakerKind = TieBreakerKind::Bytes;

    fn key(&self, order: AccountOrder) -> Key {
        let ns = match order {
            AccountOrder::FirstSeen => self.first_seen_ns,
            AccountOrder::LastSeen => self.last_seen_ns,
        };
        Key {
            sort: Some(time::to_db(ns)),
            tie_breaker: TieBreaker::Bytes(self.address.as_bytes().to_vec()),
        }
    }
}

/// A filter of accounts; its fields add up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountFilter {
    /// One of these.
    pub addresses: Option<Vec<Address>>,
    /// With or without a verified bundle.
    pub has_contact_bundle: Option<bool>,
    /// Named by an envelope of this time or later.
    pub seen_after: Option<u64>,
}

impl AccountFilter {
    fn filter(&self) -> Filter {
        let mut filter = Filter::default();
        filter.and_if("address = any(?)", self.addresses.as_deref().map(DbKey::array));
        filter.and_part("has_contact_bundle = ?", self.has_contact_bundle);
        filter.and_if("last_seen_ns >= ?", self.seen_after.map(time::to_db));
        filter
    }
}

fn list(order: AccountOrder) -> List {
    List {
        columns: COLUMNS,
        table: "derived.accounts",
        sort: Some(match order {
            AccountOrder::FirstSeen => "first_seen_ns",
            AccountOrder::LastSeen => "last_seen_ns",
        }),
        nullable: false,
        tie_breaker: "address",
        total: Some("accounts"),
        with: None,
    }
}

impl Snapshot {
    /// A page of accounts.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn accounts(
        &self,
        filter: &AccountFilter,
        request: &PageRequest<AccountOrder>,
    ) -> Result<Page<Account>> {
        self.page(&list(request.order), filter.filter(), request, Account::from_columns).await
    }

    /// The number of accounts.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn count_accounts(&self, filter: &AccountFilter) -> Result<u64> {
        self.count(&list(AccountOrder::FirstSeen), filter.filter()).await
    }

    /// The accounts that have these addresses.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn accounts_by_address(&self, addresses: &[Address]) -> Result<Vec<Account>> {
        self.find_by(
            concat!("select ", columns!(), " from derived.accounts where address {is}"),
            addresses,
            Vec::new(),
            Account::from_columns,
        )
        .await
    }

    /// The generations in which each of these accounts has a verified bundle, for those that have any.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn reachability(&self, addresses: &[Address]) -> Result<Vec<(Address, Generation)>> {
        let generations: Vec<i16> = Generation::ALL.iter().map(|g| g.code()).collect();
        // One seek for each generation of each account, however many bundles it has.
        self.find_by(
            "select wanted.key, made.generation
               from {wanted}
              cross join unnest($2::smallint[]) made(generation)
              cross join lateral (
                    select from derived.contact_bundles
                     where account = wanted.key and generation = made.generation and verification = 1
                     order by position limit 1) bundle
              order by wanted.key, made.generation",
            addresses,
            vec![generations.into()],
            |columns| {
                columns.table("derived.contact_bundles");
                Ok((columns.address()?, columns.generation()?))
            },
        )
        .await
    }
}
