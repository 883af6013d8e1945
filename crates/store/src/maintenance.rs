//! Work on the log's partitions: made before the log reaches them, frozen when they are full, dropped when they are empty.

use sqlx::AssertSqlSafe;

use crate::{database::Store, error::Result};

/// Envelopes in a partition. Changing it needs nothing else: bounds stand in `ground.partitions`.
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
        // Attaching waits for readers; it must not make them wait for it for long.
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
        // One at a time; whoever comes second leaves the work to the first.
        let free = sqlx::query_scalar!(
            r#"select pg_try_advisory_lock(hashtext('ground.maintain')) as "free!""#
        )
        .fetch_one(&mut connection)
        .await?;
        if !free {
            return Ok(maintained);
        }
        let full = sqlx::query!(
            r#"select p.name, p.frozen_at is null as "unfrozen!",
                      pg_relation_size(format('ground.%I', p.name)::regclass) as "bytes!"
                 from ground.partitions p, ground.head h
                where p.dropped_at is null and p.upto <= h.position + 1
                order by p.first"#
        )
        .fetch_all(&mut connection)
        .await?;
        for partition in full {
            if partition.unfrozen {
                let vacuum = format!("vacuum (freeze, analyze) ground.\"{}\"", partition.name);
                sqlx::raw_sql(AssertSqlSafe(vacuum)).execute(&mut connection).await?;
                sqlx::query!(
                    "update ground.partitions set frozen_at = now() where name = $1",
                    partition.name
                )
                .execute(&mut connection)
                .await?;
                maintained.frozen += 1;
            } else if partition.bytes == 0 {
                // A vacuum gives the pages of an empty table back. Nothing is inserted into a full partition.
                let drop = format!(
                    "begin; set local lock_timeout = '5s'; drop table ground.\"{0}\";
                     update ground.partitions set dropped_at = now() where name = '{0}'; commit",
                    partition.name
                );
                sqlx::raw_sql(AssertSqlSafe(drop)).execute(&mut connection).await?;
                maintained.dropped += 1;
            }
        }
        Ok(maintained)
    }
}
