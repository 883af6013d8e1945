//! Takes messages away whose copies were erased; what other copies are left are written again.

use std::collections::HashSet;

use sqlx::PgConnection;

use crate::{error::Result, log::Position, projection::Entry, time, totals::Totals};

pub(super) async fn erase(
    connection: &mut PgConnection,
    erased: &[Entry],
    totals: &mut Totals,
) -> Result<Vec<Position>> {
    let messages: Vec<_> = erased
        .iter()
        .filter(|entry| entry.tombstone().is_none())
        .filter_map(|entry| Some((time::to_db(entry.sent_ns()?), entry.logged.payload_key)))
        .collect();
    if messages.is_empty() {
        return Ok(Vec::new());
    }
    let gone = sqlx::query!(
        "delete from messages m
          using (select distinct sent_ns, id from unnest($1::bigint[], $2::uuid[]) as u (sent_ns, id)) u
          where m.sent_ns = u.sent_ns and m.id = u.id
         returning m.first_position, m.generation",
        &messages.iter().map(|message| message.0).collect::<Vec<_>>(),
        &messages.iter().map(|message| message.1).collect::<Vec<_>>()
    )
    .fetch_all(&mut *connection)
    .await?;
    for row in &gone {
        totals.add("messages", "", -1);
        totals.add("messages", row.generation, -1);
    }
    let first: Vec<i64> = gone.iter().map(|row| row.first_position).collect();
    let copies = sqlx::query_scalar!(
        "delete from message_copies where first_position = any($1) returning position",
        &first
    )
    .fetch_all(connection)
    .await?;
    let erased: HashSet<i64> = erased.iter().map(|entry| entry.logged.position.0).collect();
    let left = first.into_iter().chain(copies).filter(|position| !erased.contains(position));
    Ok(left.map(Position).collect())
}
