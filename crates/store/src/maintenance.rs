//! Work on the log's partitions: made before the log reaches them, frozen when they are full, dropped when they are empty.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{database::Store, error::Result};

/// Envelopes in a partition that is made from now on: the bounds of those that are there stand in `ground.partitions`.
pub const PARTITION_WIDTH: i64 = 2_000_000;

/// How many envelopes the partitions must have room for beyond the head. At 10,000 envelopes a second this is several
/// minutes, and the caller comes by every minute.
const AHEAD: i64 = 2_500_000;

/// What one round of maintenance did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maintained {
    /// Partitions made ahead of the log.
    pub made: u32,
    /// Full partitions that were vacuumed and frozen.
    pub frozen: u32,
    /// Partitions that were dropped because every envelope in them was erased.
    pub dropped: u32,
}

impl Store {
    /// Makes the partitions that the log will soon need; returns how many. Harmless at any time from anywhere.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn extend_partitions(&self) -> Result<u32> {
        let mut tx = self.begin().await?;
        // One at a time. Attaching does not block readers or appends.
        sqlx::raw_sql(
            "set local lock_timeout = '5s'; select pg_advisory_xact_lock(hashtext('ground.partitions'))",
        )
        .execute(&mut *tx)
        .await?;
        let made = sqlx::query_scalar!(
            r#"select ground.extend($1, $2) as "made!""#,
            PARTITION_WIDTH,
            AHEAD
        )
        .fetch_one(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(made.unsigned_abs())
    }

    /// Makes partitions ahead of the log, freezes those that are full, and drops those that are full and empty.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn maintain(&self) -> Result<Maintained> {
        let mut maintained =
            Maintained { made: self.extend_partitions().await?, ..Maintained::default() };
        let mut connection = self.own_connection().await?;
        // One process at a time; a second one leaves the work to the first.
        let free = sqlx::query_scalar!(
            r#"select pg_try_advisory_lock(hashtext('ground.maintain')) as "free!""#
        )
        .fetch_one(&mut connection)
        .await?;
        if !free {
            return Ok(maintained);
        }
        let partitions = sqlx::query!(
            r#"select p.name, p.upto <= h.position + 1 as "full!", p.frozen_at is null as "unfrozen!",
                      p.erased_at < now() - interval '1 minute' as "erased?"
                 from ground.partitions p, ground.head h
                where p.dropped_at is null and (p.upto <= h.position + 1 or p.erased_at is not null)
                order by p.first"#
        )
        .fetch_all(&mut connection)
        .await?;
        for partition in partitions {
            let name = partition.name.as_str();
            let done = match (partition.full, partition.unfrozen, partition.erased) {
                // Erased messages leave the file, and what was erased before is not looked at again.
                (full, _, Some(true)) => vacuum_erased(&mut connection, name, full).await,
                (true, true, _) => freeze(&mut connection, name).await,
                _ => continue,
            };
            match done {
                Ok(Done::Frozen) => maintained.frozen += 1,
                Ok(Done::Dropped) => maintained.dropped += 1,
                Ok(Done::Vacuumed) => {}
                // The others do not wait for this one.
                Err(error) => {
                    tracing::warn!(partition = name, %error, "cannot maintain a partition of the log");
                    sqlx::raw_sql("rollback").execute(&mut connection).await?;
                }
            }
        }
        Ok(maintained)
    }
}

enum Done {
    Frozen,
    Vacuumed,
    Dropped,
}

async fn freeze(connection: &mut PgConnection, name: &str) -> Result<Done> {
    let vacuum = AssertSqlSafe(format!("vacuum (freeze, analyze) ground.\"{name}\""));
    sqlx::raw_sql(vacuum).execute(&mut *connection).await?;
    sqlx::query!("update ground.partitions set frozen_at = now() where name = $1", name)
        .execute(connection)
        .await?;
    Ok(Done::Frozen)
}

/// Takes erased rows out of a partition's file, and drops a full partition of which nothing is left.
async fn vacuum_erased(connection: &mut PgConnection, name: &str, full: bool) -> Result<Done> {
    let vacuum = AssertSqlSafe(format!("vacuum ground.\"{name}\""));
    sqlx::raw_sql(vacuum).execute(&mut *connection).await?;
    let text = AssertSqlSafe(format!("select not exists (select from ground.\"{name}\")"));
    let empty: bool = sqlx::query_scalar(text).fetch_one(&mut *connection).await?;
    if !full || !empty {
        // Not what was erased while the vacuum ran.
        sqlx::query!(
            "update ground.partitions set erased_at = null
              where name = $1 and erased_at < now() - interval '1 minute'",
            name
        )
        .execute(&mut *connection)
        .await?;
        return Ok(Done::Vacuumed);
    }
    // Nothing is inserted into a full partition. The lock is on the whole log, so it must be short.
    let drop = format!(
        "begin; set local lock_timeout = '1s'; drop table ground.\"{name}\";
         update ground.partitions set dropped_at = now() where name = '{name}'; commit"
    );
    sqlx::raw_sql(AssertSqlSafe(drop)).execute(connection).await?;
    Ok(Done::Dropped)
}
