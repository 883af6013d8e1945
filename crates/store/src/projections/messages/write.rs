//! Writes a page of messages: new ones as rows, further copies of known ones as copies.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{Copy, Row};
use crate::{error::Result, totals::Totals};

pub(super) async fn write(
    connection: &mut PgConnection,
    rows: Vec<Row>,
    totals: &mut Totals,
) -> Result<()> {
    let rows = fold(rows);
    let known: BTreeMap<usize, i64> = sqlx::query!(
        r#"select u.nth as "nth!", m.first_position
             from unnest($1::bigint[], $2::uuid[]) with ordinality as u (sent_ns, id, nth)
             join messages m on m.sent_ns = u.sent_ns and m.id = u.id"#,
        &rows.iter().map(|r| r.sent_ns).collect::<Vec<_>>(),
        &rows.iter().map(|r| r.id).collect::<Vec<_>>()
    )
    .fetch_all(&mut *connection)
    .await?
    .into_iter()
    .filter_map(|row| Some((usize::try_from(row.nth - 1).ok()?, row.first_position)))
    .collect();
    let of = |nth: usize| known.get(&nth).copied();
    let new: Vec<&Row> =
        rows.iter().enumerate().filter(|(nth, _)| of(*nth).is_none()).map(|(_, row)| row).collect();
    if !new.is_empty() {
        for row in &new {
            totals.add("messages", "", 1);
            totals.add("messages", row.generation, 1);
        }
        insert(connection, &new).await?;
    }
    // The first copy of a new message is its own row.
    let copies: Vec<(&Row, &Copy)> = rows
        .iter()
        .enumerate()
        .flat_map(|(nth, row)| {
            row.copies.iter().skip(usize::from(of(nth).is_none())).map(move |copy| (row, copy))
        })
        .collect();
    if !copies.is_empty() {
        sqlx::query!(
            "insert into message_copies (position, sent_ns, id, conversation, verification)
             select * from unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::uuid[], $5::smallint[])",
            &copies.iter().map(|(_, copy)| copy.position).collect::<Vec<_>>(),
            &copies.iter().map(|(row, _)| row.sent_ns).collect::<Vec<_>>(),
            &copies.iter().map(|(row, _)| row.id).collect::<Vec<_>>(),
            &copies.iter().map(|(_, copy)| copy.conversation).collect::<Vec<_>>(),
            &copies.iter().map(|(_, copy)| copy.verification).collect::<Vec<_>>()
        )
        .execute(&mut *connection)
        .await?;
    }
    if !known.is_empty() {
        // A copy where it belongs proves more than a stray one.
        let verdicts: Vec<(i64, i16)> = known
            .iter()
            .filter_map(|(nth, first)| Some((*first, rows.get(*nth)?.verification)))
            .collect();
        sqlx::query!(
            "update messages m set verification = u.verification
               from unnest($1::bigint[], $2::smallint[]) as u (first_position, verification)
              where m.first_position = u.first_position and m.verification > u.verification",
            &verdicts.iter().map(|verdict| verdict.0).collect::<Vec<_>>(),
            &verdicts.iter().map(|verdict| verdict.1).collect::<Vec<_>>()
        )
        .execute(connection)
        .await?;
    }
    Ok(())
}

async fn insert(connection: &mut PgConnection, new: &[&Row]) -> Result<()> {
    let senders: Vec<Option<&[u8]>> =
        new.iter().map(|r| r.sender.as_ref().map(|a| a.as_bytes().as_slice())).collect();
    let recipients: Vec<Option<&[u8]>> =
        new.iter().map(|r| r.recipient.as_ref().map(|a| a.as_bytes().as_slice())).collect();
    let first = |r: &&Row| r.copies.first().map_or(0, |copy| copy.position);
    let own = |r: &&Row| r.copies.first().map_or(r.verification, |copy| copy.verification);
    sqlx::query!(
        "insert into messages
             (first_position, id, sent_ns, conversation, sender, recipient, generation, verification,
              own_verification, should_push, has_sender_hmac)
         select * from unnest($1::bigint[], $2::uuid[], $3::bigint[], $4::uuid[], $5::bytea[], $6::bytea[],
                              $7::smallint[], $8::smallint[], $9::smallint[], $10::boolean[], $11::boolean[])",
        &new.iter().map(first).collect::<Vec<_>>(),
        &new.iter().map(|r| r.id).collect::<Vec<_>>(),
        &new.iter().map(|r| r.sent_ns).collect::<Vec<_>>(),
        &new.iter().map(|r| r.conversation).collect::<Vec<_>>(),
        &senders as &[Option<&[u8]>],
        &recipients as &[Option<&[u8]>],
        &new.iter().map(|r| r.generation).collect::<Vec<_>>(),
        &new.iter().map(|r| r.verification).collect::<Vec<_>>(),
        &new.iter().map(own).collect::<Vec<_>>(),
        &new.iter().map(|r| r.should_push).collect::<Vec<_>>() as &[Option<bool>],
        &new.iter().map(|r| r.has_sender_hmac).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One row a message, in the order of first copies. Rows come in the order of the log, so the first decides.
fn fold(rows: Vec<Row>) -> Vec<Row> {
    let mut places: BTreeMap<(i64, Uuid), usize> = BTreeMap::new();
    let mut folded: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let place = *places.entry((row.sent_ns, row.id)).or_insert(folded.len());
        match folded.get_mut(place) {
            None => folded.push(row),
            Some(sum) => {
                sum.verification = sum.verification.min(row.verification);
                sum.copies.extend(row.copies);
            }
        }
    }
    folded
}
