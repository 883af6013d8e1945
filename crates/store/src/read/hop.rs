//! From a row to another one that it names, in the same statement: a wallet's address leads to its account, or to the
//! bundle that clients would use for it. Each step adds one row at most, so that a page stays a page.

use std::fmt::Write as _;

use tokio_postgres::{Row, types::FromSql};

use super::{
    accounts::{self, Account},
    contact_bundles::{self, ContactBundle},
    row::Columns,
};
use crate::error::Result;

/// The column that names the wallet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Of accounts: its own.
    Address,
    /// Of contact bundles: whose topic it stands on.
    Account,
    /// Of contact bundles: who signed it.
    Signer,
    /// Of invitations: who invites.
    Sender,
    /// Of invitations: who is invited.
    Recipient,
}

impl Via {
    fn column(self) -> &'static str {
        match self {
            Via::Address => "address",
            Via::Account => "account",
            Via::Signer => "signer",
            Via::Sender => "sender",
            Via::Recipient => "recipient",
        }
    }
}

/// What stands at the end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The account.
    Account,
    /// The bundle that clients would use. Without its keys, which are most of its bytes, they read as empty.
    CurrentBundle {
        /// With the keys?
        keys: bool,
    },
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// From the end of this earlier step; from the row itself when none is said.
    pub from: Option<usize>,
    /// By this column.
    pub via: Via,
    /// To this.
    pub to: Target,
}

/// What a step led to, where there is something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An account.
    Account(Option<Account>),
    /// A contact bundle.
    Bundle(Option<Box<ContactBundle>>),
}

/// How many columns a list of them has.
pub(super) fn count(columns: &str) -> usize {
    columns.split(',').count()
}

impl Target {
    fn columns(self) -> &'static str {
        match self {
            Target::Account => accounts::COLUMNS,
            Target::CurrentBundle { keys: true } => contact_bundles::COLUMNS,
            Target::CurrentBundle { keys: false } => contact_bundles::COLUMNS_WITHOUT_KEYS,
        }
    }
}

/// The columns and joins that steps add to a statement whose rows are called `p`.
pub(super) fn joins(hops: &[Hop]) -> (String, String) {
    let (mut columns, mut joins) = (String::new(), String::new());
    for (nth, hop) in hops.iter().enumerate() {
        let from = hop.from.map_or_else(|| "p".to_owned(), |from| format!("h{from}"));
        let via = hop.via.column();
        let _ = write!(columns, ", h{nth}.*");
        let listed = hop.to.columns();
        let _ = match hop.to {
            Target::Account => write!(
                joins,
                " left join lateral (select {listed} from derived.accounts where address = {from}.{via}) h{nth} on true"
            ),
            Target::CurrentBundle { .. } => write!(
                joins,
                " left join lateral (
                    select {listed} from derived.contact_bundles
                     where account = {from}.{via} and verification = 1 and position <= (select head from heads)
                     order by published_ns desc, digest desc limit 1) h{nth} on true"
            ),
        };
    }
    (columns, joins)
}

/// What the steps from a row led to; `at` is the first of their columns.
pub(super) fn found(row: &Row, mut at: usize, hops: &[Hop]) -> Result<Vec<Found>> {
    let mut all = Vec::with_capacity(hops.len());
    for hop in hops {
        all.push(match hop.to {
            Target::Account => Found::Account(match is_there::<&[u8]>(row, at)? {
                true => Some(Account::from_columns(&mut Columns::from(row, accounts::TABLE, at))?),
                false => None,
            }),
            Target::CurrentBundle { .. } => Found::Bundle(match is_there::<i64>(row, at)? {
                true => {
                    let mut columns = Columns::from(row, contact_bundles::TABLE, at);
                    Some(Box::new(ContactBundle::from_columns(&mut columns)?))
                }
                false => None,
            }),
        });
        at += count(hop.to.columns());
    }
    Ok(all)
}

/// First columns are never null, but in the place of a row that is not there.
fn is_there<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<bool> {
    Ok(row.try_get::<_, Option<T>>(at)?.is_some())
}
