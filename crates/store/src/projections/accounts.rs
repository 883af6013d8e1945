//! Every wallet that a topic's name, a bundle or a header names, and whether it published a verified bundle.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use wire::{Address, Payload, Verification};

use super::{Entry, Projection};
use crate::{error::Result, time};

pub(super) struct Accounts;

pub(super) struct Row {
    address: Address,
    has_contact_bundle: bool,
    seen_ns: i64,
}

impl Projection for Accounts {
    const NAME: &'static str = "accounts";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["derived.accounts"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        let seen_ns = time::to_db(entry.logged.timestamp_ns);
        let mut see = |address: Address, has_contact_bundle: bool| {
            rows.push(Row { address, has_contact_bundle, seen_ns });
        };
        let topic = &entry.reading.topic;
        topic.owner().into_iter().for_each(|address| see(address, false));
        topic.participants().into_iter().for_each(|(a, b)| {
            see(a, false);
            see(b, false);
        });
        match &entry.reading.payload {
            Ok(Payload::ContactBundle(bundle)) => {
                if let Some(signer) = bundle.signer {
                    see(signer, bundle.verification == Verification::Verified);
                }
            }
            Ok(Payload::Invite(invite)) => {
                see(invite.sender.wallet, false);
                see(invite.recipient.wallet, false);
            }
            Ok(Payload::MessageV1(message)) => {
                see(message.sender.wallet, false);
                see(message.recipient.wallet, false);
            }
            _ => {}
        }
    }

    async fn write(tx: &Transaction<'_>, rows: Vec<Row>) -> Result<()> {
        let mut folded: BTreeMap<Address, (bool, i64, i64)> = BTreeMap::new();
        for r in rows {
            let sum = folded.entry(r.address).or_insert((false, r.seen_ns, r.seen_ns));
            *sum = (sum.0 || r.has_contact_bundle, sum.1.min(r.seen_ns), sum.2.max(r.seen_ns));
        }
        let statement = tx
            .prepare_cached(
                "insert into derived.accounts as a (address, has_contact_bundle, first_seen_ns, last_seen_ns)
                 select * from unnest($1::bytea[], $2::boolean[], $3::bigint[], $4::bigint[])
                 on conflict (address) do update
                    set has_contact_bundle = a.has_contact_bundle or excluded.has_contact_bundle,
                        first_seen_ns      = least(a.first_seen_ns, excluded.first_seen_ns),
                        last_seen_ns       = greatest(a.last_seen_ns, excluded.last_seen_ns)",
            )
            .await?;
        tx.execute(
            &statement,
            &[
                &folded.keys().map(|a| a.as_bytes().as_slice()).collect::<Vec<_>>(),
                &folded.values().map(|v| v.0).collect::<Vec<_>>(),
                &folded.values().map(|v| v.1).collect::<Vec<_>>(),
                &folded.values().map(|v| v.2).collect::<Vec<_>>(),
            ],
        )
        .await?;
        Ok(())
    }
}
