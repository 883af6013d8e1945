//! Removes copies of messages. A message whose first copy is removed is rewritten from the next copy, or removed.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{error::Result, projection::Entry, time, totals::Totals};

pub(super) async fn erase(
    connection: &mut PgConnection,
    erased: &[Entry],
    totals: &mut Totals,
) -> Result<()> {
    let messages: BTreeSet<(i64, Uuid)> = erased
        .iter()
        .filter(|entry| entry.tombstone().is_none())
        .filter_map(|entry| Some((time::to_db(entry.sent_ns()?), entry.logged.payload_key)))
        .collect();
    if messages.is_empty() {
        return Ok(());
    }
    let times: Vec<i64> = messages.iter().map(|message| message.0).collect();
    let ids: Vec<Uuid> = messages.iter().map(|message| message.1).collect();
    let positions: Vec<i64> = erased.iter().map(|entry| entry.logged.position.0).collect();
    sqlx::query!("delete from message_copies where position = any($1)", &positions)
        .execute(&mut *connection)
        .await?;
    // The next copy takes the place of the first.
    sqlx::query!(
        "with next as (
             select m.first_position as gone, c.position, c.conversation, c.verification
               from unnest($1::bigint[], $2::uuid[]) as u (sent_ns, id)
               join messages m on m.sent_ns = u.sent_ns and m.id = u.id and m.first_position = any($3)
              cross join lateral (
                    select position, conversation, verification from message_copies
                     where sent_ns = u.sent_ns and id = u.id order by position limit 1) c),
         taken as (delete from message_copies c using next where c.position = next.position)
         update messages m
            set first_position = next.position, conversation = next.conversation, own_verification = next.verification
           from next where m.first_position = next.gone",
        &times,
        &ids,
        &positions
    )
    .execute(&mut *connection)
    .await?;
    let gone = sqlx::query_scalar!(
        "delete from messages where first_position = any($1) returning generation",
        &positions
    )
    .fetch_all(&mut *connection)
    .await?;
    for generation in gone {
        totals.add("messages", "", -1);
        totals.add("messages", generation, -1);
    }
    // The best verdict may have gone.
    sqlx::query!(
        "update messages m
            set verification = least(m.own_verification, (select min(verification) from message_copies c
                                                           where c.sent_ns = m.sent_ns and c.id = m.id))
           from unnest($1::bigint[], $2::uuid[]) as u (sent_ns, id)
          where m.sent_ns = u.sent_ns and m.id = u.id",
        &times,
        &ids
    )
    .execute(connection)
    .await?;
    Ok(())
}
