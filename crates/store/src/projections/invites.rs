//! Invitations: one row each, however many inboxes hold a copy. What copies add is order-free: a later copy may
//! complete the delivery or turn a stray one into a verified one.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use uuid::Uuid;
use wire::{Address, Payload};

use super::{Entry, Projection};
use crate::{error::Result, time};

pub(super) struct Invites;

pub(super) struct Row {
    id: Uuid,
    sender: Address,
    recipient: Address,
    created_ns: i64,
    verification: i16,
    to_sender: bool,
    to_recipient: bool,
    first_position: i64,
}

impl Projection for Invites {
    const NAME: &'static str = "invites";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["derived.invites"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        if let Ok(Payload::Invite(invite)) = &entry.reading.payload {
            rows.push(Row {
                id: entry.payload_key,
                sender: invite.sender.wallet,
                recipient: invite.recipient.wallet,
                created_ns: time::to_db(invite.created_ns),
                verification: invite.verification.code(),
                to_sender: invite.placed_with_sender,
                to_recipient: invite.placed_with_recipient,
                first_position: entry.logged.position.0,
            });
        }
    }

    async fn write(tx: &Transaction<'_>, rows: Vec<Row>) -> Result<()> {
        let mut folded: BTreeMap<Uuid, Row> = BTreeMap::new();
        for row in rows {
            match folded.get_mut(&row.id) {
                None => {
                    folded.insert(row.id, row);
                }
                Some(sum) => {
                    // Verified (1) is below wrong owner (2); the other verdicts are the payload's own, the same in each copy.
                    sum.verification = sum.verification.min(row.verification);
                    sum.to_sender |= row.to_sender;
                    sum.to_recipient |= row.to_recipient;
                    sum.first_position = sum.first_position.min(row.first_position);
                }
            }
        }
        let rows: Vec<Row> = folded.into_values().collect();
        let statement = tx
            .prepare_cached(
                "insert into derived.invites as i
                     (id, sender, recipient, created_ns, verification, delivered_to_sender, delivered_to_recipient,
                      first_position)
                 select * from unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bigint[], $5::smallint[], $6::boolean[],
                                      $7::boolean[], $8::bigint[])
                 on conflict (id) do update
                    set verification           = least(i.verification, excluded.verification),
                        delivered_to_sender    = i.delivered_to_sender or excluded.delivered_to_sender,
                        delivered_to_recipient = i.delivered_to_recipient or excluded.delivered_to_recipient,
                        first_position         = least(i.first_position, excluded.first_position)",
            )
            .await?;
        tx.execute(
            &statement,
            &[
                &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.sender.as_bytes().as_slice()).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.recipient.as_bytes().as_slice()).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.created_ns).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.verification).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.to_sender).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.to_recipient).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.first_position).collect::<Vec<_>>(),
            ],
        )
        .await?;
        Ok(())
    }
}
