//! Brings the database to this program's version, and refuses to work on any other.

use sqlx::{Connection as _, PgConnection, migrate::Migrator};

use crate::{
    database::{Store, chain},
    error::{Error, Result},
    grants::{self, Readers},
};

/// The migrations of `migrations/`, compiled in.
pub static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version before; 0 is an empty database.
    pub from: i64,
    /// The version now.
    pub to: i64,
    /// Whether readers have a role of their own.
    pub readers: Readers,
}

impl Store {
    /// Applies missing migrations, and grants readers what they may read. Safe to run from many processes at once, and when
    /// nothing is missing. It works on a connection of its own, so that the lock of a migration ends with it, however it
    /// ends.
    ///
    /// # Errors
    /// [`Error::Newer`] when the database was written by a newer program, [`Error::Migration`] when a step fails: it
    /// is then rolled back.
    pub async fn migrate(&self) -> Result<Migrated> {
        let mut connection = self.own_connection().await?;
        let (from, known) = (applied(&mut connection).await?, known());
        if from > known {
            return Err(Error::Newer { found: from, known });
        }
        MIGRATOR.run(&mut connection).await.map_err(|error| Error::Migration(chain(&error)))?;
        let readers = grants::give(&mut connection).await?;
        connection.close().await?;
        Ok(Migrated { from, to: known, readers })
    }

    /// Checks that the database is at this program's version.
    ///
    /// # Errors
    /// [`Error::Newer`] or [`Error::Older`], each saying what to do.
    pub async fn check_version(&self) -> Result<()> {
        let (found, known) = (applied(&mut *self.connection().await?).await?, known());
        match found {
            _ if found > known => Err(Error::Newer { found, known }),
            _ if found < known => Err(Error::Older { found, known }),
            _ => Ok(()),
        }
    }
}

fn known() -> i64 {
    MIGRATOR.iter().map(|migration| migration.version).max().unwrap_or(0)
}

async fn applied(connection: &mut PgConnection) -> Result<i64> {
    let (table, before): (bool, bool) = sqlx::query_as(
        "select to_regclass('public._sqlx_migrations') is not null,
                to_regclass('public.refinery_schema_history') is not null",
    )
    .fetch_one(&mut *connection)
    .await?;
    if before {
        return Err(Error::Migration(
            "this database was made by a program from before the first release: use an empty database, or remove the data folder".into(),
        ));
    }
    if !table {
        return Ok(0);
    }
    let (version,): (i64,) = sqlx::query_as(
        "select coalesce(max(version), 0) from public._sqlx_migrations where success",
    )
    .fetch_one(connection)
    .await?;
    Ok(version)
}

#[cfg(test)]
mod tests;
