use store::read;

use super::lists::{self, InvitePages, Pages};
use crate::{
    error::Trouble,
    exec::{Call, ID, Selection, Statements, Table, object},
    node_id::NodeId,
    paging::{Connection, connection},
    scalars::{Address, DateTime},
};

/// A wallet.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(super) address: wire::Address,
    /// Asked for when a field needs it: most questions are about the address alone.
    row: Option<Result<read::Account, Trouble>>,
}

impl From<read::Account> for Account {
    fn from(row: read::Account) -> Self {
        Account { address: row.address, row: Some(Ok(row)) }
    }
}

impl Account {
    /// An account that something else names, and which therefore exists.
    pub(crate) fn at(address: wire::Address) -> Account {
        Account { address, row: None }
    }

    fn seen(&self, when: impl FnOnce(&read::Account) -> u64) -> Result<DateTime, Trouble> {
        match &self.row {
            Some(Ok(row)) => Ok(DateTime(when(row))),
            Some(Err(trouble)) => Err(trouble.clone()),
            None => Err(Trouble::rebuilding("accounts")),
        }
    }
}

/// Fields that need the row.
const SEEN: &[&str] = &["firstSeenAt", "lastSeenAt"];

/// Statements that are not sent below an account that comes with its row.
pub(super) fn saved_by_row(below: &Selection) -> usize {
    usize::from(below.has_any(SEEN))
}

object!(
    Account,
    Table::new("Account", "A wallet.")
        .implements("Node")
        .complete(SEEN, complete)
        .leaf("id", ID, |account: &Account| NodeId::Account(account.address))
        .leaf("address", "Its address.", |account| Address(account.address))
        .load(
            "contactBundle",
            "The bundle that a client would use today: the newest verified one.",
            Statements::of(1),
            contact_bundle
        )
        .load(
            "contactBundles",
            "Everything that was published on its contact topic and could be read, newest first.",
            Statements::of(1),
            contact_bundles
        )
        .load("invites", "Invitations by it and to it.", Statements::of(1), invites)
        .load(
            "conversations",
            "Conversations whose topic names it, the most recently active first. Those of V2 name nobody and are not \
             here.",
            Statements::of(1),
            conversations
        )
        .load(
            "topics",
            "Topics whose name says it, the most recently active first.",
            Statements::of(1),
            topics
        )
        .inline(
            "firstSeenAt",
            "The earliest time of an envelope that names it, by its sender's clock.",
            |account| account.seen(|row| row.first_seen_ns)
        )
        .inline(
            "lastSeenAt",
            "The latest time of an envelope that names it, by its sender's clock.",
            |account| account.seen(|row| row.last_seen_ns)
        )
);
connection!(Account, "AccountConnection", "AccountEdge");

/// A list of each of them.
type Lists<T> = Result<Vec<Result<Connection<T>, Trouble>>, Trouble>;

fn addresses(accounts: &[Account]) -> Vec<wire::Address> {
    accounts.iter().map(|account| account.address).collect()
}

async fn complete(call: Call<'_>, accounts: &mut [Account]) {
    let missing = accounts.iter().filter(|account| account.row.is_none());
    // The fields that need it tell what went wrong.
    let found = call.scope().accounts(missing.map(|account| account.address)).await;
    for account in accounts.iter_mut().filter(|account| account.row.is_none()) {
        account.row = match &found {
            Ok(found) => found.get(&account.address).copied().map(Ok),
            Err(trouble) => Some(Err(trouble.clone())),
        };
    }
}

async fn contact_bundle(
    call: Call<'_>,
    accounts: &[Account],
    _: (),
) -> Result<Vec<Option<read::ContactBundle>>, Trouble> {
    call.scope().current_bundles(&addresses(accounts)).await
}

async fn contact_bundles(
    call: Call<'_>,
    accounts: &[Account],
    mut asked: Pages,
) -> Lists<read::ContactBundle> {
    let args = asked.args();
    lists::lists(call, &addresses(accounts), Default::default(), None, args).await
}

async fn invites(
    call: Call<'_>,
    accounts: &[Account],
    mut asked: InvitePages,
) -> Lists<read::Invite> {
    let (order, args) = (asked.order_by.take(), asked.args());
    let filter = asked.filter.unwrap_or_default().into();
    lists::lists(call, &addresses(accounts), filter, order, args).await
}

async fn conversations(
    call: Call<'_>,
    accounts: &[Account],
    mut asked: Pages,
) -> Lists<read::Conversation> {
    let args = asked.args();
    lists::lists(call, &addresses(accounts), Default::default(), None, args).await
}

async fn topics(call: Call<'_>, accounts: &[Account], mut asked: Pages) -> Lists<read::Topic> {
    let args = asked.args();
    lists::lists(call, &addresses(accounts), Default::default(), None, args).await
}
