//! Writes a page: the rows of every member, and their watermarks, in one transaction.

use std::time::Instant;

use sqlx::{PgConnection, Postgres, Transaction};

use super::{Group, Member, Page, Projector, groups::Target};
use crate::{
    error::{Error, Result},
    log::Position,
    projection::Erased,
    rebuild, watermarks,
};

/// Why a page was not written.
pub(super) enum Failure {
    /// Another process moved a watermark or erased something: read the state again.
    Moved,
    /// Readers held a swap up for too long: try again later.
    Busy,
    /// One projection could not write its rows.
    Projection(Member, Error),
    /// PostgreSQL.
    Store(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Store(error.into())
    }
}

impl Projector {
    /// Rows and watermarks of one page, in one transaction.
    pub(super) async fn write(&self, group: &Group, page: &Page) -> Result<(), Failure> {
        let Some(last) = page.last() else { return Ok(()) };
        let began = Instant::now();
        let mut tx = self.transaction(group.target).await?;
        if !self.hold(&mut tx, group).await? {
            return Err(Failure::Moved);
        }
        if erasures(&mut tx).await? != page.erasures {
            return Err(Failure::Moved);
        }
        self.project(&mut tx, &group.members, page).await?;
        let names = self.names(&group.members);
        match group.target {
            Target::Served => watermarks::advance(&mut tx, &names, last).await?,
            Target::Rebuild => rebuild::advance(&mut tx, &names, last).await?,
        }
        tx.commit().await?;
        metrics::histogram!("xmtp_indexer_projection_page_seconds")
            .record(began.elapsed().as_secs_f64());
        Ok(())
    }

    /// A transaction whose statements write the tables of this target.
    pub(super) async fn transaction(
        &self,
        target: Target,
    ) -> Result<Transaction<'static, Postgres>> {
        let mut tx = self.store.begin().await?;
        // What a crash takes back, the watermark takes back with it: the page is simply written again.
        sqlx::raw_sql(match target {
            Target::Served => "set local synchronous_commit = off; set local search_path = derived",
            Target::Rebuild => {
                "set local synchronous_commit = off; set local search_path = rebuild"
            }
        })
        .execute(&mut *tx)
        .await?;
        Ok(tx)
    }

    /// Writes what a page adds to these members.
    pub(super) async fn project(
        &self,
        connection: &mut PgConnection,
        members: &[Member],
        page: &Page,
    ) -> Result<(), Failure> {
        for &member in members {
            self.projection(member)
                .project(connection, &page.entries)
                .await
                .map_err(|error| Failure::Projection(member, error))?;
        }
        Ok(())
    }

    /// Locks the members' watermarks; `false` when one of them is elsewhere.
    async fn hold(&self, connection: &mut PgConnection, group: &Group) -> Result<bool> {
        let here = |projection: &dyn Erased, found: Option<(i32, Position)>| {
            found == Some((projection.version(), group.at))
        };
        match group.target {
            Target::Served => {
                let found = watermarks::lock(connection, &self.names(&group.members)).await?;
                Ok(group.members.iter().all(|member| {
                    let projection = self.projection(*member);
                    here(projection, found.get(projection.name()).copied())
                }))
            }
            Target::Rebuild => {
                for member in &group.members {
                    let projection = self.projection(*member);
                    let found = rebuild::lock(connection, projection.name()).await?;
                    if !here(projection, found) {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
        }
    }

    fn names(&self, members: &[Member]) -> Vec<&'static str> {
        members.iter().map(|member| self.projection(*member).name()).collect()
    }
}

/// How many erasures there have been. An erasure holds all watermarks.
async fn erasures(connection: &mut PgConnection) -> Result<i64> {
    Ok(sqlx::query_scalar!("select erasures from ground.head").fetch_one(connection).await?)
}
