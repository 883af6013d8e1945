//! Wallets.

use tokio_postgres::Row;
use wire::{Address, Generation};

use super::{
    page::{Key, Keyed, Page, PageRequest, Tie, TieKind},
    row::{self, Columns},
    snapshot::Snapshot,
    statement::{Filter, List},
};
use crate::{error::Result, time};

/// A wallet that some topic's name, bundle or header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Its address.
    pub address: Address,
    /// Did it ever publish a verified bundle?
    pub has_contact_bundle: bool,
    /// The smallest time of an envelope that names it.
    pub first_seen_ns: u64,
    /// The largest.
    pub last_seen_ns: u64,
}

impl Account {
    fn from_row(row: &Row) -> Result<Account> {
        let mut columns = Columns::of(row, "derived.accounts");
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
    /// The smallest time of an envelope.
    FirstSeen,
    /// The largest.
    LastSeen,
}

impl Keyed<AccountOrder> for Account {
    const TIE: TieKind = TieKind::Bytes;

    fn key(&self, order: AccountOrder) -> Key {
        let ns = match order {
            AccountOrder::FirstSeen => self.first_seen_ns,
            AccountOrder::LastSeen => self.last_seen_ns,
        };
        Key { sort: Some(time::to_db(ns)), tie: Tie::Bytes(self.address.as_bytes().to_vec()) }
    }
}

/// Which accounts.
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
        filter.and_if("address = any(?)", self.addresses.as_deref().map(row::bytes));
        filter.and_if("has_contact_bundle = ?", self.has_contact_bundle);
        filter.and_if("last_seen_ns >= ?", self.seen_after.map(time::to_db));
        filter
    }
}

fn list(order: AccountOrder) -> List {
    List {
        columns: "address, has_contact_bundle, first_seen_ns, last_seen_ns",
        table: "derived.accounts",
        sort: Some(match order {
            AccountOrder::FirstSeen => "first_seen_ns",
            AccountOrder::LastSeen => "last_seen_ns",
        }),
        nullable: false,
        tie: "address",
        with: None,
    }
}

impl Snapshot {
    /// A page of accounts.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn accounts(
        &self,
        filter: &AccountFilter,
        request: &PageRequest<AccountOrder>,
    ) -> Result<Page<Account>> {
        self.page(&list(request.order), filter.filter(), request, Account::from_row).await
    }

    /// How many accounts.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn count_accounts(&self, filter: &AccountFilter) -> Result<u64> {
        self.count(&list(AccountOrder::FirstSeen), filter.filter()).await
    }

    /// The accounts that have these addresses.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn accounts_by_address(&self, addresses: &[Address]) -> Result<Vec<Account>> {
        self.find(
            "select address, has_contact_bundle, first_seen_ns, last_seen_ns
               from derived.accounts where address = any($1)",
            vec![Box::new(row::bytes(addresses))],
            Account::from_row,
        )
        .await
    }

    /// The generations in which each of these accounts has a verified bundle, for those that have any.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn reachability(&self, addresses: &[Address]) -> Result<Vec<(Address, Generation)>> {
        self.find(
            "select distinct account, generation
               from derived.contact_bundles
              where account = any($1) and verification = 1 and position <= $2
              order by account, generation",
            vec![Box::new(row::bytes(addresses)), Box::new(self.head().0)],
            |row| {
                let mut columns = Columns::of(row, "derived.contact_bundles");
                Ok((columns.address()?, columns.generation()?))
            },
        )
        .await
    }
}
