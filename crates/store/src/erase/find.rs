//! Finds the envelopes of a scope.

use sqlx::PgConnection;

use super::{BATCH, Scope};
use crate::{
    error::Result,
    log::{self, Position},
};

/// The positions of a scope's envelopes that have not been erased, in ascending order: of a topic the next [`BATCH`] after a
/// position, of an account all of them, since each query for them returns an order of its own.
pub(super) async fn positions(
    connection: &mut PgConnection,
    scope: &Scope,
    after: Position,
) -> Result<Vec<i64>> {
    Ok(match scope {
        Scope::Topic(name) => {
            sqlx::query_scalar!(
                "select position from derived.envelopes
                  where topic_key = $1 and position > $2 and not erased order by position limit $3",
                log::topic_key(&wire::topic::from_text(name)),
                after.0,
                BATCH
            )
            .fetch_all(connection)
            .await?
        }
        Scope::Account(account) => {
            sqlx::query_scalar!(
                r#"with topics as (
                       select key from derived.topic_names where owner = $1
                        union select key from derived.topic_names where peer = $1),
                   invitations as (
                       select id from derived.invites where sender = $1
                        union select id from derived.invites where recipient = $1),
                   sent as (
                       select sent_ns, id, first_position from derived.messages where sender = $1
                        union select sent_ns, id, first_position from derived.messages where recipient = $1),
                   named as (
                       select e.position from topics t join derived.envelopes e on e.topic_key = t.key
                        union select c.position from invitations i join derived.invite_copies c on c.id = i.id
                        union select first_position from sent
                        union select c.position from sent s join derived.message_copies c on c.sent_ns = s.sent_ns and c.id = s.id)
                   select n.position as "position!"
                     from named n join derived.envelopes e on e.position = n.position
                    where n.position > $2 and not e.erased order by n.position"#,
                account.as_bytes().as_slice(),
                after.0
            )
            .fetch_all(connection)
            .await?
        }
    })
}

/// Deletes what was put aside of a scope's topics: envelopes that the log could not take, and evidence against sources.
pub(super) async fn put_aside(connection: &mut PgConnection, scope: &Scope) -> Result<u64> {
    let topics: Vec<Vec<u8>> = match scope {
        Scope::Topic(name) => vec![wire::topic::from_text(name).into_owned()],
        Scope::Account(account) => {
            sqlx::query_scalar!(
                r#"select topic as "topic!" from derived.topic_names where owner = $1
                    union select topic from derived.topic_names where peer = $1"#,
                account.as_bytes().as_slice()
            )
            .fetch_all(&mut *connection)
            .await?
        }
    };
    let gone = sqlx::query_scalar!(
        r#"with parked as (delete from ground.parked where topic = any($1) returning 1),
              conflicts as (delete from ground.conflicts where topic = any($1) returning 1),
              counts as (
                  update ground.counts c set rows = c.rows - gone.rows
                    from (select 'parked' as name, count(*) as rows from parked
                           union all select 'conflicts', count(*) from conflicts) gone
                   where c.name = gone.name)
           select (select count(*) from parked) + (select count(*) from conflicts) as "gone!""#,
        &topics
    )
    .fetch_one(connection)
    .await?;
    Ok(u64::try_from(gone).unwrap_or(0))
}
