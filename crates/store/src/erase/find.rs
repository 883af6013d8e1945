//! Finds the envelopes of a scope.

use sqlx::PgConnection;

use super::{BATCH, Scope};
use crate::{
    error::Result,
    log::{self, Position},
};

/// The next [`BATCH`] envelopes of a scope after a position that have not been erased, by position.
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
        // Each way to the envelopes is a scan of its own, in an index of its own.
        Scope::Account(account) => {
            sqlx::query_scalar!(
                r#"with topics as (
                       select key from derived.topic_names where owner = $1
                        union select key from derived.topic_names where peer = $1),
                   invitations as (
                       select id, first_position from derived.invites where sender = $1
                        union select id, first_position from derived.invites where recipient = $1),
                   sent as (
                       select first_position from derived.messages where sender = $1
                        union select first_position from derived.messages where recipient = $1),
                   named as (
                       select e.position from topics t cross join lateral (
                              select position from derived.envelopes
                               where topic_key = t.key and position > $2 and not erased order by position limit $3) e
                        union select first_position from invitations
                        union select c.position from invitations i join derived.invite_copies c on c.id = i.id
                        union select first_position from sent
                        union select c.position from sent s join derived.message_copies c on c.first_position = s.first_position)
                   select n.position as "position!"
                     from named n join derived.envelopes e on e.position = n.position
                    where n.position > $2 and not e.erased order by n.position limit $3"#,
                account.as_bytes().as_slice(),
                after.0,
                BATCH
            )
            .fetch_all(connection)
            .await?
        }
    })
}
