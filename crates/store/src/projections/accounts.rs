//! Every wallet that a topic's name, a bundle or a header names, and whether it published a verified bundle.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use wire::{Address, Payload, Verification};

use crate::{
    error::{Error, Result},
    projection::{Change, Entry, Fold},
    time,
    totals::Totals,
};

pub(super) struct Accounts;

/// The row of a wallet.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct State {
    verified_bundles: i32,
    first_seen_ns: i64,
    last_seen_ns: i64,
}

/// An envelope names a wallet.
pub(super) struct Seen {
    with_verified_bundle: bool,
    at_ns: i64,
}

impl Fold for Accounts {
    const NAME: &'static str = "accounts";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["accounts"];
    type Key = Address;
    type State = State;
    type Event = Seen;

    fn derive(entry: &Entry, events: &mut Vec<(Address, Seen)>) {
        let at_ns = time::to_db(entry.logged.timestamp_ns);
        let verified = matches!(entry.payload(), Some(Payload::ContactBundle(bundle))
            if bundle.verification == Verification::Verified);
        let mut see = |address: Address, with_verified_bundle: bool| {
            events.push((address, Seen { with_verified_bundle, at_ns }));
        };
        let topic = &entry.reading.topic;
        topic.owner().into_iter().for_each(|address| see(address, false));
        topic.participants().into_iter().for_each(|(a, b)| {
            see(a, false);
            see(b, false);
        });
        // Of a bundle, this is the signer.
        entry.accounts().into_iter().for_each(|address| see(address, verified));
    }

    fn apply(state: Option<State>, event: Seen) -> State {
        match state {
            None => State {
                verified_bundles: i32::from(event.with_verified_bundle),
                first_seen_ns: event.at_ns,
                last_seen_ns: event.at_ns,
            },
            Some(state) => State {
                verified_bundles: state
                    .verified_bundles
                    .saturating_add(event.with_verified_bundle.into()),
                first_seen_ns: state.first_seen_ns.min(event.at_ns),
                last_seen_ns: state.last_seen_ns.max(event.at_ns),
            },
        }
    }

    async fn load(
        connection: &mut PgConnection,
        keys: &[Address],
    ) -> Result<BTreeMap<Address, State>> {
        let rows = sqlx::query!(
            "select a.address, a.verified_bundles, a.first_seen_ns, a.last_seen_ns
               from unnest($1::bytea[]) as u (address) join accounts a using (address)",
            &bytes(keys.iter()) as &[&[u8]]
        )
        .fetch_all(connection)
        .await?;
        rows.into_iter()
            .map(|row| {
                let state = State {
                    verified_bundles: row.verified_bundles,
                    first_seen_ns: row.first_seen_ns,
                    last_seen_ns: row.last_seen_ns,
                };
                Ok((address(&row.address)?, state))
            })
            .collect()
    }

    async fn save(
        connection: &mut PgConnection,
        changes: Vec<Change<Accounts>>,
        totals: &mut Totals,
    ) -> Result<()> {
        let (new, known): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| change.before.is_none());
        for change in &new {
            totals.add("accounts", "", 1);
            totals.add("accounts", change.after.verified_bundles > 0, 1);
        }
        let gained = |change: &&Change<Accounts>| {
            change.before.is_some_and(|before| before.verified_bundles == 0)
                && change.after.verified_bundles > 0
        };
        let gained = i64::try_from(known.iter().filter(gained).count()).unwrap_or(i64::MAX);
        totals.add("accounts", true, gained);
        totals.add("accounts", false, -gained);
        if !new.is_empty() {
            sqlx::query!(
                "insert into accounts (address, verified_bundles, first_seen_ns, last_seen_ns)
                 select * from unnest($1::bytea[], $2::integer[], $3::bigint[], $4::bigint[])",
                &bytes(new.iter().map(|change| &change.key)) as &[&[u8]],
                &new.iter().map(|change| change.after.verified_bundles).collect::<Vec<_>>(),
                &new.iter().map(|change| change.after.first_seen_ns).collect::<Vec<_>>(),
                &new.iter().map(|change| change.after.last_seen_ns).collect::<Vec<_>>()
            )
            .execute(&mut *connection)
            .await?;
        }
        if !known.is_empty() {
            sqlx::query!(
                "update accounts a
                    set verified_bundles = u.verified_bundles, first_seen_ns = u.first_seen_ns,
                        last_seen_ns = u.last_seen_ns
                   from unnest($1::bytea[], $2::integer[], $3::bigint[], $4::bigint[])
                        as u (address, verified_bundles, first_seen_ns, last_seen_ns)
                  where a.address = u.address",
                &bytes(known.iter().map(|change| &change.key)) as &[&[u8]],
                &known.iter().map(|change| change.after.verified_bundles).collect::<Vec<_>>(),
                &known.iter().map(|change| change.after.first_seen_ns).collect::<Vec<_>>(),
                &known.iter().map(|change| change.after.last_seen_ns).collect::<Vec<_>>()
            )
            .execute(connection)
            .await?;
        }
        Ok(())
    }

    async fn erase(
        connection: &mut PgConnection,
        erased: &[Entry],
        totals: &mut Totals,
    ) -> Result<()> {
        let mut gone: BTreeMap<Address, i32> = BTreeMap::new();
        for entry in erased {
            if let Some(Payload::ContactBundle(bundle)) = entry.payload()
                && bundle.verification == Verification::Verified
                && let Some(signer) = bundle.signer
            {
                *gone.entry(signer).or_default() += 1;
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        let left = sqlx::query_scalar!(
            "update accounts a set verified_bundles = a.verified_bundles - u.gone
               from unnest($1::bytea[], $2::integer[]) as u (address, gone)
              where a.address = u.address
             returning a.verified_bundles",
            &bytes(gone.keys()) as &[&[u8]],
            &gone.values().copied().collect::<Vec<_>>()
        )
        .fetch_all(connection)
        .await?;
        let lost = left.into_iter().filter(|left| *left == 0).count();
        let lost = i64::try_from(lost).unwrap_or(i64::MAX);
        totals.add("accounts", true, -lost);
        totals.add("accounts", false, lost);
        Ok(())
    }
}

fn bytes<'a>(addresses: impl Iterator<Item = &'a Address>) -> Vec<&'a [u8]> {
    addresses.map(|address| address.as_bytes().as_slice()).collect()
}

fn address(bytes: &[u8]) -> Result<Address> {
    Address::try_from(bytes).map_err(|_| Error::Contradiction {
        table: "derived.accounts",
        what: format!("an address has {} bytes", bytes.len()),
    })
}
