//! The tag that names a database.

use crate::{database::Store, error::Result};

impl Store {
    /// The tag of this database, which another database has not: positions and places of one mean nothing in another.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn tag(&self) -> Result<i32> {
        let tag = sqlx::query_scalar!("select tag from ground.database");
        Ok(tag.fetch_one(&mut *self.connection().await?).await?)
    }
}
