//! How far each projection has read the log, and up to where answers speak.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::{
    database::Store,
    error::{Error, Result},
    log::Position,
    projection::Erased,
    projections, rebuild,
};

/// How far one projection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The projection's name.
    pub name: String,
    /// The version of the code that wrote the rows that are served.
    pub version: i32,
    /// Everything up to here is in its tables.
    pub position: Position,
    /// Does it stand behind the served head? What it serves is then older than the rest of an answer.
    pub stale: bool,
    /// Why it cannot write its rows, while it cannot.
    pub error: Option<String>,
    /// The tables that are being built beside the served ones.
    pub rebuild: Option<Rebuild>,
}

/// Tables that are being built beside those that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebuild {
    /// The version of the code that writes their rows.
    pub version: i32,
    /// Everything up to here is in them.
    pub position: Position,
}

/// How far everything is, at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progression {
    /// The head of the log.
    pub(crate) head: Position,
    /// The served head.
    pub(crate) served: Position,
    /// The projections, by name.
    pub(crate) watermarks: Vec<Watermark>,
}

impl Store {
    /// Every projection's watermark, by name.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn watermarks(&self) -> Result<Vec<Watermark>> {
        Ok(self.progression().await?.watermarks)
    }

    pub(crate) async fn progression(&self) -> Result<Progression> {
        let rows = sqlx::query!(
            r#"select h.position as "head!", s.position as "served!", w.name as "name?", w.version as "version?",
                      w.position as "position?", coalesce(w.error, r.error) as error, r.version as "rebuild_version?",
                      r.position as "rebuild_position?"
                 from ground.head h cross join derived.served s
                 left join derived.watermarks w on true
                 left join derived.rebuilds r on r.name = w.name
                order by w.name"#
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let mut progression = Progression::default();
        for row in rows {
            progression.head = Position(row.head);
            progression.served = Position(row.served);
            let (Some(name), Some(version), Some(position)) = (row.name, row.version, row.position)
            else {
                continue;
            };
            progression.watermarks.push(Watermark {
                name,
                version,
                position: Position(position),
                stale: position < row.served,
                error: row.error,
                rebuild: row
                    .rebuild_version
                    .zip(row.rebuild_position)
                    .map(|(version, position)| Rebuild { version, position: Position(position) }),
            });
        }
        Ok(progression)
    }

    /// Has these projections (all when `names` is empty) built again from the log, beside the tables that are served: the
    /// projectors do it and swap the tables when the new ones have caught up. Returns their names.
    ///
    /// # Errors
    /// [`Error::NoSuchProjection`] for an unknown name; [`Error::Refused`] when a newer program has built one of them.
    pub async fn rebuild(&self, names: &[String]) -> Result<Vec<&'static str>> {
        let all = projections::all();
        for name in names {
            if !all.iter().any(|p| p.name() == name) {
                let known: Vec<_> = all.iter().map(|p| p.name()).collect();
                return Err(Error::NoSuchProjection(name.clone(), known.join(", ")));
            }
        }
        let mut rebuilt = Vec::new();
        for projection in
            all.iter().filter(|p| names.is_empty() || names.iter().any(|n| n == p.name()))
        {
            let mut tx = self.begin().await?;
            let served = lock(&mut tx, &[projection.name()]).await?;
            let served = served.get(projection.name()).map(|(version, _)| *version);
            let rebuild =
                rebuild::lock(&mut tx, projection.name()).await?.map(|(version, _)| version);
            if let Some(found) = served.max(rebuild)
                && found > projection.version()
            {
                return Err(Error::Refused(format!(
                    "projection {} was built by version {found}, this program has version {}: rebuild it with the newer program",
                    projection.name(),
                    projection.version()
                )));
            }
            rebuild::start(&mut tx, projection.as_ref()).await?;
            tx.commit().await?;
            rebuilt.push(projection.name());
        }
        Ok(rebuilt)
    }

    /// Makes the watermarks fit this program. In a database whose projections have read nothing yet, each starts at the
    /// beginning of the log. Later, a new one and one whose version was raised are built beside what is served.
    pub(crate) async fn prepare_watermarks(&self, all: &[Box<dyn Erased>]) -> Result<()> {
        let mut tx = self.begin().await?;
        // Projectors of other processes wait here for the end of their pages.
        sqlx::query!("lock table derived.watermarks in exclusive mode").execute(&mut *tx).await?;
        let served =
            sqlx::query_scalar!("select position from derived.served").fetch_one(&mut *tx).await?;
        for projection in all {
            // There are no rows of version 0.
            let version = if served == 0 { projection.version() } else { 0 };
            sqlx::query!(
                "insert into derived.watermarks (name, version, position) values ($1, $2, 0)
                 on conflict (name) do nothing",
                projection.name(),
                version
            )
            .execute(&mut *tx)
            .await?;
            let found = sqlx::query!(
                r#"select w.version, r.version as "rebuild?"
                     from derived.watermarks w left join derived.rebuilds r using (name) where w.name = $1"#,
                projection.name()
            )
            .fetch_one(&mut *tx)
            .await?;
            let known = projection.version();
            if found.version > known {
                tracing::warn!(
                    projection = projection.name(),
                    built_by = found.version,
                    this_program = known,
                    "a newer program has built this projection: it is left alone"
                );
            } else if found.version < known && found.rebuild.is_none_or(|found| found < known) {
                rebuild::start(&mut tx, projection.as_ref()).await?;
                tracing::info!(
                    projection = projection.name(),
                    from = found.version,
                    to = known,
                    "a new version is built beside the one that is served"
                );
            }
        }
        serve(&mut tx, Position(served)).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// Locks the watermarks of served tables for a page; returns their versions and positions. The row lock is the only leader
/// election there is.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    names: &[&str],
) -> Result<BTreeMap<String, (i32, Position)>> {
    let rows = sqlx::query!(
        "select name, version, position from derived.watermarks where name = any($1) order by name for update",
        names as &[&str]
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, (row.version, Position(row.position)))).collect())
}

/// Moves locked watermarks, and the served head with those that are furthest.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    names: &[&str],
    to: Position,
) -> Result<()> {
    sqlx::query!(
        "update derived.watermarks set position = $2, error = null, updated_at = now() where name = any($1)",
        names as &[&str],
        to.0
    )
    .execute(&mut *connection)
    .await?;
    serve(connection, to).await
}

/// Moves the served head up to `position`, never back, and notes which projections stand behind it.
pub(crate) async fn serve(connection: &mut PgConnection, position: Position) -> Result<()> {
    // A statement of its own: the next one then sees the watermarks that the previous holder of the row wrote.
    sqlx::query!("select position from derived.served for update")
        .fetch_one(&mut *connection)
        .await?;
    sqlx::query!(
        "update derived.served
            set position = greatest(position, $1),
                stale = array(select name from derived.watermarks
                               where watermarks.position < greatest(served.position, $1) order by name)",
        position.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes why a projection cannot write its rows, for `status`.
pub(crate) async fn report_error(
    connection: &mut PgConnection,
    name: &str,
    rebuild: bool,
    error: &str,
) -> Result<()> {
    if rebuild {
        sqlx::query!(
            "update derived.rebuilds set error = $2, updated_at = now() where name = $1",
            name,
            error
        )
        .execute(connection)
        .await?;
        return Ok(());
    }
    sqlx::query!(
        "update derived.watermarks set error = $2, updated_at = now() where name = $1",
        name,
        error
    )
    .execute(connection)
    .await?;
    Ok(())
}
