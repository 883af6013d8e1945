//! Invitations: one row each, however many inboxes hold a copy. A later copy may complete the delivery, or turn a stray one
//! into a verified one.

use std::collections::{BTreeMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;
use wire::{Address, Payload};

use crate::{
    error::Result,
    projection::{Entry, Projection},
    time,
    totals::Totals,
};

pub(super) struct Invites;

pub(super) struct Row {
    id: Uuid,
    sender: Address,
    recipient: Address,
    created_ns: i64,
    verification: i16,
    to_sender: bool,
    to_recipient: bool,
    /// All copies in the page, in the order of the log.
    copies: Vec<Copy>,
}

/// What one copy adds.
#[derive(Clone, Copy)]
struct Copy {
    position: i64,
    verification: i16,
    to_sender: bool,
    to_recipient: bool,
}

impl Projection for Invites {
    const NAME: &'static str = "invites";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["invites", "invite_copies"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        if let Some(Payload::Invite(invite)) = entry.payload() {
            rows.push(Row {
                id: entry.logged.payload_key,
                sender: invite.sender,
                recipient: invite.recipient,
                created_ns: time::to_db(invite.created_ns),
                verification: invite.verification.code(),
                to_sender: invite.placed_with_sender,
                to_recipient: invite.placed_with_recipient,
                copies: vec![Copy {
                    position: entry.logged.position.0,
                    verification: invite.verification.code(),
                    to_sender: invite.placed_with_sender,
                    to_recipient: invite.placed_with_recipient,
                }],
            });
        }
    }

    async fn write(
        connection: &mut PgConnection,
        rows: Vec<Row>,
        totals: &mut Totals,
    ) -> Result<()> {
        let rows = fold(rows);
        let known: HashSet<Uuid> = sqlx::query_scalar!(
            "update invites i
                set verification           = least(i.verification, u.verification),
                    delivered_to_sender    = i.delivered_to_sender or u.to_sender,
                    delivered_to_recipient = i.delivered_to_recipient or u.to_recipient
               from unnest($1::uuid[], $2::smallint[], $3::boolean[], $4::boolean[])
                    as u (id, verification, to_sender, to_recipient)
              where i.id = u.id
             returning i.id",
            &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.verification).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.to_sender).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.to_recipient).collect::<Vec<_>>()
        )
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .collect();
        let new: Vec<&Row> = rows.iter().filter(|r| !known.contains(&r.id)).collect();
        totals.add("invites", "", i64::try_from(new.len()).unwrap_or(i64::MAX));
        if !new.is_empty() {
            insert(connection, &new).await?;
        }
        let copies: Vec<(Uuid, Copy)> =
            rows.iter().flat_map(|r| r.copies.iter().map(|copy| (r.id, *copy))).collect();
        sqlx::query!(
            "insert into invite_copies (id, position, verification, delivered_to_sender, delivered_to_recipient)
             select * from unnest($1::uuid[], $2::bigint[], $3::smallint[], $4::boolean[], $5::boolean[])",
                &copies.iter().map(|(id, _)| *id).collect::<Vec<_>>(),
                &copies.iter().map(|(_, copy)| copy.position).collect::<Vec<_>>(),
                &copies.iter().map(|(_, copy)| copy.verification).collect::<Vec<_>>(),
                &copies.iter().map(|(_, copy)| copy.to_sender).collect::<Vec<_>>(),
                &copies.iter().map(|(_, copy)| copy.to_recipient).collect::<Vec<_>>()
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn erase(
        connection: &mut PgConnection,
        erased: &[Entry],
        totals: &mut Totals,
    ) -> Result<()> {
        let ids: BTreeMap<Uuid, ()> = erased
            .iter()
            .filter(|entry| matches!(entry.payload(), Some(Payload::Invite(_))))
            .map(|entry| (entry.logged.payload_key, ()))
            .collect();
        let ids: Vec<Uuid> = ids.into_keys().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let positions: Vec<i64> = erased.iter().map(|entry| entry.logged.position.0).collect();
        sqlx::query!(
            "delete from invite_copies where id = any($1) and position = any($2)",
            &ids,
            &positions
        )
        .execute(&mut *connection)
        .await?;
        let gone = sqlx::query!(
            "delete from invites i
              where i.id = any($1) and not exists (select from invite_copies c where c.id = i.id)",
            &ids
        )
        .execute(&mut *connection)
        .await?;
        totals.add("invites", "", -i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX));
        // What the remaining copies contribute together.
        sqlx::query!(
            "update invites i
                set first_position = c.position, verification = c.verification,
                    delivered_to_sender = c.to_sender, delivered_to_recipient = c.to_recipient
               from (select w.id, min(c.position) as position, min(c.verification) as verification,
                            bool_or(c.delivered_to_sender) as to_sender,
                            bool_or(c.delivered_to_recipient) as to_recipient
                       from unnest($1::uuid[]) as w (id) join invite_copies c on c.id = w.id group by w.id) c
              where i.id = c.id",
            &ids
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

async fn insert(connection: &mut PgConnection, new: &[&Row]) -> Result<()> {
    let senders: Vec<&[u8]> = new.iter().map(|r| r.sender.as_bytes().as_slice()).collect();
    let recipients: Vec<&[u8]> = new.iter().map(|r| r.recipient.as_bytes().as_slice()).collect();
    let first = |r: &&Row| r.copies.first().map_or(0, |copy| copy.position);
    sqlx::query!(
        "insert into invites
             (id, sender, recipient, created_ns, verification, delivered_to_sender, delivered_to_recipient,
              first_position)
         select * from unnest($1::uuid[], $2::bytea[], $3::bytea[], $4::bigint[], $5::smallint[], $6::boolean[],
                              $7::boolean[], $8::bigint[])",
        &new.iter().map(|r| r.id).collect::<Vec<_>>(),
        &senders as &[&[u8]],
        &recipients as &[&[u8]],
        &new.iter().map(|r| r.created_ns).collect::<Vec<_>>(),
        &new.iter().map(|r| r.verification).collect::<Vec<_>>(),
        &new.iter().map(|r| r.to_sender).collect::<Vec<_>>(),
        &new.iter().map(|r| r.to_recipient).collect::<Vec<_>>(),
        &new.iter().map(first).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One row an invitation, sorted by id.
fn fold(rows: Vec<Row>) -> Vec<Row> {
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
                sum.copies.extend(row.copies);
            }
        }
    }
    folded.into_values().collect()
}
