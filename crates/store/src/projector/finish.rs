//! Finishes a rebuild: its last pages, and the swap.

use sqlx::{AssertSqlSafe, PgConnection};

use super::{Member, Projector, groups::Target, write::Failure};
use crate::{error::Error, log::Position, rebuild, watermarks};

/// How long to wait for a vacuum of the tables to end. PostgreSQL ends an automatic one by itself after `deadlock_timeout`,
/// which is a second by default; it must not be abandoned before.
const SETTLE: &str = "set local lock_timeout = '5s'";

impl Projector {
    /// Brings rebuilt tables to where answers speak, and puts them in the place of the served ones. All watermarks are held
    /// meanwhile, so nothing moves; little is lacking.
    pub(super) async fn finish(&mut self, member: Member) -> Result<(), Failure> {
        let projection = self.projection(member);
        let name = projection.name();
        let mut tx = self.transaction(Target::Rebuild).await?;
        // Wait for whatever blocks the swap before anybody has to wait for the swap.
        match settle(&mut tx, projection.tables()).await {
            // Another projector has swapped them.
            Err(error) if error.code().as_deref() == Some("42P01") => return Err(Failure::Moved),
            Err(error) if error.code().as_deref() == Some("55P03") => return Err(Failure::Busy),
            settled => settled?,
        }
        let all: Vec<String> =
            sqlx::query_scalar!("select name from derived.watermarks").fetch_all(&mut *tx).await?;
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let marks = watermarks::lock(&mut tx, &all).await?;
        let served =
            sqlx::query_scalar!("select position from derived.served").fetch_one(&mut *tx).await?;
        let Some((version, mut at)) = rebuild::lock(&mut tx, name).await? else {
            return Err(Failure::Moved);
        };
        let newer = marks.get(name).is_none_or(|(found, _)| *found > projection.version());
        if version != projection.version() || newer {
            return Err(Failure::Moved);
        }
        // Others may have moved the head on since it was looked at: then it is caught up like any other that is behind.
        let lacking = served - at.0;
        if lacking > 2 * self.config.bounds.envelopes {
            return Err(Failure::Moved);
        }
        while at.0 < served {
            // On this connection: there may be no other.
            let page = self.read_on(&mut tx, at, Position(served)).await?;
            let Some(last) = page.last() else { return Err(Failure::Moved) };
            self.project(&mut tx, &[member], &page).await?;
            at = last;
        }
        match rebuild::swap(&mut tx, projection, at).await {
            // Readers are under way that began before.
            Err(error) if error.code().as_deref() == Some("55P03") => return Err(Failure::Busy),
            // For example, something else depends on the served tables. That concerns this projection alone.
            Err(error) => return Err(Failure::Projection(member, error)),
            Ok(()) => {}
        }
        tx.commit().await?;
        self.ahead = None;
        tracing::info!(projection = name, version, position = at.0, "rebuilt tables are served");
        Ok(())
    }
}

/// Keeps vacuums off the served and the new tables, and has statistics of the new ones before readers plan with them.
async fn settle(connection: &mut PgConnection, tables: &[&str]) -> Result<(), Error> {
    sqlx::raw_sql(SETTLE).execute(&mut *connection).await?;
    for table in tables {
        let lock =
            format!("lock table derived.{table}, rebuild.{table} in share update exclusive mode");
        sqlx::raw_sql(AssertSqlSafe(lock)).execute(&mut *connection).await?;
        let analyze = AssertSqlSafe(format!("analyze rebuild.{table}"));
        sqlx::raw_sql(analyze).execute(&mut *connection).await?;
    }
    Ok(())
}
