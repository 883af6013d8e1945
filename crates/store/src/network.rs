//! The network that a database belongs to: written once, by the first worker.

use crate::{
    database::Store,
    error::{Error, Result},
};

impl Store {
    /// Checks that the database belongs to this network, or to none yet.
    ///
    /// # Errors
    /// [`Error::OtherNetwork`] when it belongs to another one.
    pub async fn check_network(&self, network: &str) -> Result<()> {
        let mut connection = self.connection().await?;
        let found = sqlx::query_scalar!("select network from ground.database")
            .fetch_one(&mut *connection)
            .await?;
        self.same_network(found, network)
    }

    /// Makes the database belong to this network, unless it belongs to one already. Several callers may do so at once; one
    /// wins.
    ///
    /// # Errors
    /// [`Error::OtherNetwork`] when it belongs to another one.
    pub async fn claim_network(&self, network: &str) -> Result<()> {
        let mut connection = self.connection().await?;
        sqlx::query!("update ground.database set network = $1 where network is null", network)
            .execute(&mut *connection)
            .await?;
        drop(connection);
        self.check_network(network).await
    }

    fn same_network(&self, found: Option<String>, wanted: &str) -> Result<()> {
        match found {
            Some(found) if found != wanted => Err(Error::OtherNetwork {
                target: self.target().to_owned(),
                found,
                wanted: wanted.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

    use crate::error::Class;

    #[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
    async fn the_first_claim_decides_and_others_are_refused(
        _: PgPoolOptions,
        options: PgConnectOptions,
    ) {
        let database = crate::testing::TestDatabase::on(options).await;
        let store = &database.store;
        for network in ["dev", "production"] {
            store.check_network(network).await.unwrap();
        }
        let claims = futures::future::join_all((0..8).map(async |n| {
            let network = ["dev", "production"][n % 2];
            (network, store.claim_network(network).await)
        }))
        .await;
        let winner = claims.iter().find(|(_, claim)| claim.is_ok()).unwrap().0;
        for (network, claim) in &claims {
            assert_eq!(claim.is_ok(), *network == winner, "{network}: {claim:?}");
        }
        let error = store.check_network("local").await.unwrap_err();
        assert_eq!(error.class(), Class::Fatal);
        let text = error.to_string();
        assert!(text.contains(winner) && text.contains("\"local\""), "{text}");
        store.check_network(winner).await.unwrap();
    }
}
