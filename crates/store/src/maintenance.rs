//! Work that is done beside the data's way: partitions are made before the log reaches them.

use crate::{database::Store, error::Result};

/// How many envelopes the partitions must have room for beyond the head. At 10,000 envelopes a second this is several
/// minutes, and the caller comes by every minute.
const AHEAD: i64 = 2_500_000;

impl Store {
    /// Makes the partitions that the log will soon need; says how many. Harmless to call at any time from anywhere.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn extend_partitions(&self) -> Result<u32> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        // Attaching waits for readers; it must not make them wait for it for long.
        tx.batch_execute("set local lock_timeout = '5s'; select pg_advisory_xact_lock(hashtext('ground.extend'))").await?;
        let made: i32 = tx.query_one("select ground.extend($1)", &[&AHEAD]).await?.get(0);
        tx.commit().await?;
        Ok(made.unsigned_abs())
    }
}
