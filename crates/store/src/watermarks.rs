//! How far each projection has read the log.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;

use crate::{
    database::Store,
    error::{Error, Result},
    log::Position,
    projections::{self, Erased},
};

/// How far one projection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The projection's name.
    pub name: String,
    /// The version that built it.
    pub version: i32,
    /// Everything up to here is in its tables.
    pub position: Position,
    /// Is it reading again what was there when it began anew?
    pub rebuilding: bool,
}

impl Store {
    /// Every projection's watermark, by name.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn watermarks(&self) -> Result<Vec<Watermark>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select name, version, position, position < rebuild_to from derived.watermarks order by name",
            )
            .await?;
        let rows = client.query(&statement, &[]).await?;
        Ok(rows
            .iter()
            .map(|row| Watermark {
                name: row.get(0),
                version: row.get(1),
                position: Position(row.get(2)),
                rebuilding: row.get(3),
            })
            .collect())
    }

    /// Empties projections (all when `names` is empty): projectors replay the log into them. Says which.
    ///
    /// # Errors
    /// [`Error::NoSuchProjection`] for a name that is none.
    pub async fn rebuild(&self, names: &[String]) -> Result<Vec<&'static str>> {
        let all = projections::all();
        for name in names {
            if !all.iter().any(|p| p.name() == name) {
                let known: Vec<_> = all.iter().map(|p| p.name()).collect();
                return Err(Error::NoSuchProjection(name.clone(), known.join(", ")));
            }
        }
        let mut client = self.client().await?;
        let mut rebuilt = Vec::new();
        for projection in
            all.iter().filter(|p| names.is_empty() || names.iter().any(|n| n == p.name()))
        {
            let tx = client.transaction().await?;
            reset(&tx, projection.as_ref()).await?;
            tx.commit().await?;
            rebuilt.push(projection.name());
        }
        Ok(rebuilt)
    }

    /// Makes the watermarks fit this program: a new projection starts at 0, one whose version was raised is emptied.
    /// Gives the names of those that a newer program has built; this one must leave them alone.
    pub(crate) async fn prepare_watermarks(&self, all: &[Box<dyn Erased>]) -> Result<Vec<Error>> {
        let mut client = self.client().await?;
        let mut refused = Vec::new();
        for projection in all {
            let tx = client.transaction().await?;
            tx.execute(
                "insert into derived.watermarks (name, version, rebuild_to)
                 select $1, $2, position from ground.head on conflict do nothing",
                &[&projection.name(), &projection.version()],
            )
            .await?;
            let row = tx
                .query_one(
                    "select version from derived.watermarks where name = $1 for update",
                    &[&projection.name()],
                )
                .await?;
            let (found, known): (i32, i32) = (row.get(0), projection.version());
            if found > known {
                refused.push(Error::NewerProjection { name: projection.name(), found, known });
            } else if found < known {
                reset(&tx, projection.as_ref()).await?;
                tracing::info!(
                    projection = projection.name(),
                    from = found,
                    to = known,
                    "version raised: rebuilding"
                );
            }
            tx.commit().await?;
        }
        Ok(refused)
    }
}

/// Empties a projection's tables and moves its watermark to 0. The watermark's row is locked first, as a projector does,
/// and moved last: that waits for whoever else moves one, and they must not wait for these tables then.
async fn reset(tx: &Transaction<'_>, projection: &dyn Erased) -> Result<()> {
    lock(tx, &[projection.name()]).await?;
    tx.batch_execute(&format!("truncate {}", projection.tables().join(", "))).await?;
    tx.execute(
        "insert into derived.watermarks (name, version, rebuild_to)
         select $1, $2, position from ground.head
         on conflict (name) do update
            set version = excluded.version, position = 0, rebuild_to = excluded.rebuild_to, updated_at = now()",
        &[&projection.name(), &projection.version()],
    )
    .await?;
    Ok(())
}

/// Locks these watermarks for a page; gives their positions. The row lock is the only leader election there is.
pub(crate) async fn lock(
    tx: &Transaction<'_>,
    names: &[&str],
) -> Result<BTreeMap<String, (i32, Position)>> {
    let statement = tx
        .prepare_cached(
            "select name, version, position from derived.watermarks
              where name = any($1) order by name for update",
        )
        .await?;
    let rows = tx.query(&statement, &[&names]).await?;
    Ok(rows.iter().map(|row| (row.get(0), (row.get(1), Position(row.get(2))))).collect())
}

/// Moves locked watermarks.
pub(crate) async fn advance(tx: &Transaction<'_>, names: &[&str], to: Position) -> Result<()> {
    let statement = tx
        .prepare_cached(
            "update derived.watermarks set position = $2, updated_at = now() where name = any($1)",
        )
        .await?;
    tx.execute(&statement, &[&names, &to.0]).await?;
    Ok(())
}
