//! Finishes a rebuild: its last pages, and the swap.

use sqlx::AssertSqlSafe;

use super::{Member, Projector, groups::Target, write::Failure};
use crate::{error::Error, log::Position, rebuild, watermarks};

impl Projector {
    /// Brings rebuilt tables to where answers speak, and puts them in the place of the served ones. All watermarks are held
    /// meanwhile, so nothing moves; little is lacking.
    pub(super) async fn finish(&mut self, member: Member) -> Result<(), Failure> {
        let projection = self.projection(member);
        let name = projection.name();
        self.analyze(member).await?;
        let mut tx = self.transaction(Target::Rebuild).await?;
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
            let page = self.read(at, Position(served)).await?;
            let Some(last) = page.last() else { return Err(Failure::Moved) };
            self.project(&mut tx, &[member], &page).await?;
            at = last;
        }
        match rebuild::swap(&mut tx, projection, at).await {
            // Readers are under way that began before, or somebody looks at the tables with a lock.
            Err(error) if error.code().as_deref() == Some("55P03") => return Err(Failure::Busy),
            swapped => swapped?,
        }
        tx.commit().await?;
        self.ahead = None;
        self.held_back.remove(&member);
        tracing::info!(projection = name, version, position = at.0, "rebuilt tables are served");
        Ok(())
    }

    /// Statistics of the new tables, before readers plan with them.
    async fn analyze(&self, member: Member) -> Result<(), Error> {
        let mut connection = self.store.connection().await?;
        for table in self.projection(member).tables() {
            let analyze = AssertSqlSafe(format!("analyze rebuild.{table}"));
            sqlx::raw_sql(analyze).execute(&mut *connection).await?;
        }
        Ok(())
    }
}
