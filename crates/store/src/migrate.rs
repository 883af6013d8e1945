//! Brings the database to this program's version, and refuses to work on any other.

use refinery::Migration;

use crate::{
    database::Store,
    error::{Error, Result},
    grants::{self, Readers},
};

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

/// Only one process migrates at a time: the key of the advisory lock.
const LOCK: i64 = 0x786d_7470_6d69_6772;

/// What a migration did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version before; 0 is an empty database.
    pub from: i32,
    /// The version now.
    pub to: i32,
    /// Whether readers have a role of their own.
    pub readers: Readers,
}

impl Store {
    /// Applies what is missing, and gives readers what they may see. Safe to run from many processes at once, and when nothing is missing.
    ///
    /// # Errors
    /// [`Error::Newer`] when the database was written by a newer program, [`Error::Migration`] when a step fails: it
    /// is then rolled back.
    pub async fn migrate(&self) -> Result<Migrated> {
        let mut client = self.client().await?;
        client.execute("select pg_advisory_lock($1)", &[&LOCK]).await?;
        let outcome = apply(&mut client).await;
        client.execute("select pg_advisory_unlock($1)", &[&LOCK]).await?;
        outcome
    }

    /// Checks that the database is at this program's version.
    ///
    /// # Errors
    /// [`Error::Newer`] or [`Error::Older`], each saying what to do.
    pub async fn check_version(&self) -> Result<()> {
        let client = self.client().await?;
        let (found, known) = (applied(&client).await?, known());
        match found {
            _ if found > known => Err(Error::Newer { found, known }),
            _ if found < known => Err(Error::Older { found, known }),
            _ => Ok(()),
        }
    }
}

async fn apply(client: &mut deadpool_postgres::Client) -> Result<Migrated> {
    let (from, known) = (applied(client).await?, known());
    if from > known {
        return Err(Error::Newer { found: from, known });
    }
    let connection: &mut tokio_postgres::Client = client;
    embedded::migrations::runner()
        .run_async(connection)
        .await
        .map_err(|error| Error::Migration(explain(&error)))?;
    let readers = grants::give(client).await?;
    Ok(Migrated { from, to: known, readers })
}

fn explain(error: &refinery::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

fn known() -> i32 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(Migration::version)
        .max()
        .unwrap_or(0)
}

async fn applied(client: &tokio_postgres::Client) -> Result<i32> {
    let table = client
        .query_one("select to_regclass('public.refinery_schema_history') is not null", &[])
        .await?;
    if !table.get::<_, bool>(0) {
        return Ok(0);
    }
    let row = client
        .query_one("select coalesce(max(version), 0)::int from public.refinery_schema_history", &[])
        .await?;
    Ok(row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDatabase;

    #[tokio::test]
    async fn migrating_twice_changes_nothing_and_a_newer_database_is_refused() {
        let db = TestDatabase::empty().await;
        assert!(matches!(db.store.check_version().await, Err(Error::Older { found: 0, .. })));
        let first = db.store.migrate().await.unwrap();
        assert_eq!((first.from, first.to), (0, known()));
        assert_eq!(db.store.migrate().await.unwrap().from, known());
        db.store.check_version().await.unwrap();

        let client = db.store.client().await.unwrap();
        client
            .execute(
                "insert into refinery_schema_history (version, name, applied_on, checksum) values (9999, 'future', '', '0')",
                &[],
            )
            .await
            .unwrap();
        assert!(matches!(db.store.migrate().await, Err(Error::Newer { found: 9999, .. })));
        assert!(matches!(db.store.check_version().await, Err(Error::Newer { .. })));
    }

    #[tokio::test]
    async fn totals_that_come_later_count_what_is_there_already() {
        let db = TestDatabase::empty().await;
        let mut client = db.store.client().await.unwrap();
        let connection: &mut tokio_postgres::Client = &mut client;
        let before = embedded::migrations::runner().set_target(refinery::Target::Version(5));
        before.run_async(connection).await.unwrap();
        let rows = "insert into derived.messages (id, sent_ns, first_position, generation, verification, has_sender_hmac)
                    select md5('m' || n)::uuid, n, n, 1 + n % 2, 4, false from generate_series({}) n;
                    insert into derived.accounts select sha256(n::text::bytea), n % 2 = 0, 0, 0 from generate_series({}) n;
                    insert into derived.conversations (key, name, generation, message_count)
                    select md5('c' || n)::uuid, '', 1 + n % 2, 0 from generate_series({}) n";
        client.batch_execute(&rows.replace("{}", "1, 5")).await.unwrap();
        db.store.migrate().await.unwrap();
        client.batch_execute(&rows.replace("{}", "6, 7")).await.unwrap();
        let found =
            "update derived.accounts set has_contact_bundle = true where address = sha256('1')";
        client.batch_execute(found).await.unwrap();
        let totals = "select name, rows from derived.totals where rows > 0 order by name";
        let totals: Vec<(String, i64)> = client
            .query(totals, &[])
            .await
            .unwrap()
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let wanted = [
            ("accounts", 7),
            ("accounts/false", 3),
            ("accounts/true", 4),
            ("conversations", 7),
            ("conversations/1", 3),
            ("conversations/2", 4),
            ("messages", 7),
            ("messages/1", 3),
            ("messages/2", 4),
        ];
        assert_eq!(totals, wanted.map(|(name, rows)| (name.to_owned(), rows)));
    }
}
