//! Questions that one statement answers. One statement is one moment, so that it needs no transaction around it: it
//! tells the head itself, and shows rows up to there.
//!
//! Where there are no rows, there is no head either. Such questions, and whatever fails, are asked again of a
//! [`Snapshot`](super::Snapshot).

use std::sync::LazyLock;

use deadpool_postgres::{Client, Object};
use tokio_postgres::{Row, types::ToSql};
use wire::Address;

use super::{
    accounts::{self, Account},
    analytics::{Split, Volume, VolumeFilter, Width, volume},
    contact_bundles::{self, ContactBundle, ContactBundleFilter},
    hop::{self, Found, Hop},
    invites::{self, Invite, InviteFilter},
    page::{Page, PageRequest, TimeOrder},
    row::Columns,
    snapshot::{PREPARED, SERVING},
    statement::{Filter, Head, List, Value},
};
use crate::{database::Store, error::Result, log::Position};

/// The moment that an answer speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Up to where everything is complete.
    pub head: Position,
    /// The position of the newest envelope in the log.
    pub log_head: Position,
}

impl Moment {
    /// How many envelopes are in the log that readers cannot see yet.
    #[must_use]
    pub fn lag(self) -> u64 {
        u64::try_from(self.log_head.0 - self.head.0).unwrap_or(0)
    }
}

/// A row, and what the steps from it led to.
pub type Joined<T> = (T, Vec<Found>);

/// The beginning of every statement here. The two columns of `heads` come before all others.
static HEADS: LazyLock<String> = LazyLock::new(|| {
    let (names, number) = (SERVING.join("','"), SERVING.len());
    format!(
        "with heads as materialized (
            select position as log,
                   least(position, (select case count(*) when {number} then min(position) else 0 end
                                      from derived.watermarks where name in ('{names}'))) as head
              from ground.head)
         select (select log from heads), (select head from heads), "
    )
});

/// Columns before those of the rows.
const BEFORE: usize = 2;

/// A connection for one statement. Nobody knows what still runs on one whose answer was not awaited: it is closed.
struct Lease(Option<Client>);

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            drop(Object::take(client));
        }
    }
}

impl Lease {
    async fn rows(mut self, text: &str, values: &[Value]) -> Result<Vec<Row>> {
        let Some(client) = &self.0 else { return Ok(Vec::new()) };
        if client.statement_cache.size() > PREPARED {
            client.statement_cache.clear();
        }
        let statement = client.prepare_cached(text).await?;
        let values: Vec<&(dyn ToSql + Sync)> =
            values.iter().map(|value| &**value as &(dyn ToSql + Sync)).collect();
        let rows = client.query(&statement, &values).await;
        // Back into the pool, whatever the answer: the connection waits for the next question.
        drop(self.0.take());
        Ok(rows?)
    }
}

fn moment(row: &Row) -> Result<Moment> {
    Ok(Moment { log_head: Position(row.try_get(0)?), head: Position(row.try_get(1)?) })
}

impl Store {
    /// The rows of `text` after the heads; none at all where there are none.
    async fn once(&self, text: &str, values: &[Value]) -> Result<Option<(Moment, Vec<Row>)>> {
        let rows = Lease(Some(self.client().await?)).rows(text, values).await?;
        match rows.first().map(moment) {
            None => Ok(None),
            Some(moment) => Ok(Some((moment?, rows))),
        }
    }

    async fn page_once<O, T>(
        &self,
        list: &List,
        filter: Filter,
        request: &PageRequest<O>,
        hops: &[Hop],
        read: fn(&mut Columns<'_>) -> Result<T>,
    ) -> Result<Option<(Moment, Page<Joined<T>>)>> {
        if filter.is_nothing() {
            return Ok(None);
        }
        let (page, values) = filter.page(list, request);
        let (columns, joins) = hop::joins(hops);
        let order = list.merged_order("p.", request.scans_descending());
        let text = format!("{}p.*{columns} from ({page}) p{joins} order by {order}", *HEADS);
        let Some((moment, rows)) = self.once(&text, &values).await? else { return Ok(None) };
        let after = BEFORE + hop::count(list.columns);
        let joined = |row: &Row| {
            let one = read(&mut Columns::from(row, list.table, BEFORE))?;
            Ok((one, hop::found(row, after, hops)?))
        };
        let rows = rows.iter().map(joined).collect::<Result<_>>()?;
        Ok(Some((moment, request.page(rows))))
    }

    /// An account that there is, and where the steps from it lead.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn account_once(
        &self,
        address: Address,
        hops: &[Hop],
    ) -> Result<Option<(Moment, Joined<Account>)>> {
        let (columns, joins) = hop::joins(hops);
        let listed = accounts::COLUMNS;
        let text = format!(
            "{}p.*{columns} from (select {listed} from derived.accounts where address = $1) p{joins}",
            *HEADS
        );
        let values: Vec<Value> = vec![Box::new(address.as_bytes().to_vec())];
        let Some((moment, rows)) = self.once(&text, &values).await? else { return Ok(None) };
        let Some(row) = rows.first() else { return Ok(None) };
        let account = Account::from_columns(&mut Columns::from(row, accounts::TABLE, BEFORE))?;
        let found = hop::found(row, BEFORE + hop::count(listed), hops)?;
        Ok(Some((moment, (account, found))))
    }

    /// A page of invitations that is not empty, and where the steps from each lead.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn invites_once(
        &self,
        filter: &InviteFilter,
        request: &PageRequest<TimeOrder>,
        hops: &[Hop],
    ) -> Result<Option<(Moment, Page<Joined<Invite>>)>> {
        let filter = filter.filter(Head::Asked);
        self.page_once(&invites::LIST, filter, request, hops, Invite::from_columns).await
    }

    /// A page of contact bundles that is not empty, and where the steps from each lead.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn contact_bundles_once(
        &self,
        filter: &ContactBundleFilter,
        request: &PageRequest<TimeOrder>,
        hops: &[Hop],
    ) -> Result<Option<(Moment, Page<Joined<ContactBundle>>)>> {
        let filter = filter.filter(Head::Asked);
        let list = &contact_bundles::LIST;
        self.page_once(list, filter, request, hops, ContactBundle::from_columns).await
    }

    /// Envelopes and bytes of the buckets from `first` up to and without `end`, where any holds anything.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn volume_once(
        &self,
        width: Width,
        first: u64,
        end: u64,
        split: Split,
        filter: &VolumeFilter,
    ) -> Result<Option<(Moment, Vec<Volume>)>> {
        let (series, values) = volume(width, first, end, split, filter);
        let text = format!("{}p.* from ({series}) p order by p.key, p.bucket", *HEADS);
        let Some((moment, rows)) = self.once(&text, &values).await? else { return Ok(None) };
        let read = |row| Volume::from_columns(&mut Columns::from(row, "derived.volume", BEFORE));
        Ok(Some((moment, rows.iter().map(read).collect::<Result<_>>()?)))
    }
}
