//! Rows together with the current contact bundles of the wallets that they name, in one statement. A bundle adds one row at
//! most to each row, so a page stays a page.

use wire::Address;

use super::{
    accounts::{self, Account},
    contact_bundles::{ContactBundle, Extent},
    invites::{self, Invite, InviteFilter},
    page::{Page, PageRequest, TimeOrder},
    row::Columns,
    snapshot::Snapshot,
    statement::{Filter, List, Statement, With},
};
use crate::error::Result;

/// The nested relations of invitations that are read with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nested {
    /// The current bundle of the sender.
    pub sender: bool,
    /// The current bundle of the recipient.
    pub recipient: bool,
    /// How much of each bundle.
    pub extent: Extent,
    /// The invitations' [`Delivery`](super::Delivery), which the recipient's bundle needs as well.
    pub delivery: bool,
}

/// Wallets with the bundle that clients would use for each. A wallet may be in it more than once, with the same bundle.
pub type Bundles = Vec<(Address, Option<ContactBundle>)>;

/// Joins the current bundle of the wallet in a column, as `{name}`: one row, of nulls where there is none.
fn join(name: &str, wallet: &str, extent: Extent) -> String {
    let (columns, _) = extent.columns();
    format!(
        " left join lateral (
            select {columns} from derived.contact_bundles
             where account = {wallet} and verification = 1
             order by published_ns desc, digest desc limit 1) {name} on true"
    )
}

/// Reads the bundle of a wallet that was joined.
fn joined(
    wallet: Address,
    columns: &mut Columns<'_>,
    extent: Extent,
) -> Result<Option<ContactBundle>> {
    if columns.missing()? {
        columns.skip(extent.columns().1);
        return Ok(None);
    }
    ContactBundle::of(wallet, columns, extent).map(Some)
}

impl Nested {
    fn with(self) -> Option<With> {
        let wallets = [("b0", "p.sender", self.sender), ("b1", "p.recipient", self.recipient)];
        let (mut columns, mut joins) = (String::new(), String::new());
        for (name, wallet, _) in wallets.into_iter().filter(|(_, _, wanted)| *wanted) {
            columns.push_str(&format!(", {name}.*"));
            joins.push_str(&join(name, wallet, self.extent));
        }
        Some(With { columns: columns.into(), joins: joins.into() })
    }

    fn list(self) -> List {
        let all = List { with: self.with(), ..invites::LIST };
        if self.delivery { all } else { List { columns: invites::WITHOUT_DELIVERY, ..all } }
    }

    /// The wallets of an invitation whose bundles are wanted.
    fn wallets(self, invite: &Invite) -> [Option<Address>; 2] {
        [Some(invite.sender).filter(|_| self.sender), invite.recipient().filter(|_| self.recipient)]
    }

    fn read(self, columns: &mut Columns<'_>) -> Result<(Invite, [Option<ContactBundle>; 2])> {
        let invite = Invite::with(columns, self.delivery)?;
        let mut bundles = [None, None];
        for (bundle, wallet) in bundles.iter_mut().zip(self.wallets(&invite)) {
            if let Some(wallet) = wallet {
                *bundle = joined(wallet, columns, self.extent)?;
            }
        }
        Ok((invite, bundles))
    }

    /// The page by itself, and the bundles of its rows.
    fn split(self, page: Page<(Invite, [Option<ContactBundle>; 2])>) -> (Page<Invite>, Bundles) {
        let mut bundles = Vec::new();
        let mut rows = Vec::with_capacity(page.rows.len());
        for (invite, found) in page.rows {
            let wallets = self.wallets(&invite).into_iter().zip(found);
            bundles.extend(wallets.filter_map(|(wallet, found)| Some((wallet?, found))));
            rows.push(invite);
        }
        (Page { rows, has_more: page.has_more }, bundles)
    }
}

impl Snapshot {
    /// A page of invitations, and the current bundles of the wallets in it, in one statement.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn invites_with_bundles(
        &self,
        filter: &InviteFilter,
        request: &PageRequest<TimeOrder>,
        nested: Nested,
    ) -> Result<(Page<Invite>, Bundles)> {
        let nested = Nested { delivery: nested.delivery || nested.recipient, ..nested };
        let conditions = filter.filter(Filter::default());
        let page =
            self.page(&nested.list(), conditions, request, |columns| nested.read(columns)).await?;
        Ok(nested.split(page))
    }

    /// The accounts that have these addresses, and the current bundle of each of the addresses, in one statement.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn accounts_with_bundles(
        &self,
        addresses: &[Address],
        extent: Extent,
    ) -> Result<(Vec<Account>, Bundles)> {
        let listed = accounts::COLUMNS;
        let text = format!(
            "select wanted.key, a.*, b.* from {{wanted}}
               left join lateral (select {listed} from derived.accounts where address = wanted.key) a on true{}",
            join("b", "wanted.key", extent)
        );
        let rows = self.rows(Statement::by_keys(&text, addresses, Vec::new())).await?;
        let (mut accounts, mut bundles) = (Vec::new(), Vec::new());
        for mut columns in rows.iter() {
            let address = columns.address()?;
            if columns.missing()? {
                columns.skip(accounts::WIDTH);
            } else {
                accounts.push(Account::from_columns(&mut columns)?);
            }
            bundles.push((address, joined(address, &mut columns, extent)?));
        }
        Ok((accounts, bundles))
    }
}
