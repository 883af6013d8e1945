//! The services that `bin/test` starts, and databases of a test's own on them.

use crate::tables::Database;

/// The address of a server that tests run on.
#[expect(clippy::disallowed_methods, reason = "tests get their servers from the environment")]
pub fn server(variable: &str) -> String {
    std::env::var(variable)
        .unwrap_or_else(|_| panic!("{variable} names the server to test on; bin/test starts one"))
}

/// An empty database. [`Scratch::drop`] drops it.
pub struct Scratch {
    admin: Database,
    name: String,
    /// Its address.
    pub url: String,
}

impl Scratch {
    /// Makes one, named for what it is.
    pub async fn new(what: &str) -> Scratch {
        let server = server("DATABASE_URL");
        let admin = Database::connect(&server).await;
        let name = format!("{what}_{}", std::process::id());
        let url = admin.make_another(&server, &name).await;
        Scratch { admin, name, url }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Drops it, whoever is connected.
    pub async fn drop(self) {
        self.admin.execute(&format!("drop database {} with (force)", self.name)).await;
    }
}
