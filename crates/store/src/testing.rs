//! A database of its own for each test, dropped afterwards.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::database::{Options, Store};

pub(crate) struct TestDatabase {
    pub(crate) store: Store,
    url: String,
    name: String,
}

static SERIAL: AtomicU32 = AtomicU32::new(0);

impl TestDatabase {
    /// An empty database.
    #[expect(clippy::disallowed_methods, reason = "tests get their server from the environment")]
    pub(crate) async fn empty() -> TestDatabase {
        let url = std::env::var("DATABASE_URL")
            .expect("DATABASE_URL names the server to test on; bin/test starts one and sets it");
        let admin =
            Store::connect(Options { max_connections: 1, ..Options::new(&url) }).await.unwrap();
        let name = format!("t{}_{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let client = admin.client().await.unwrap();
        client.batch_execute(&format!("drop database if exists {name}")).await.unwrap();
        client.batch_execute(&format!("create database {name}")).await.unwrap();
        let store = Store::connect(Options::new(with_database(&url, &name))).await.unwrap();
        TestDatabase { store, url, name }
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        with_database(&self.url, &self.name)
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Its address for somebody else.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        let url = self.url();
        let (scheme, rest) = url.split_once("://").unwrap();
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{user}:{password}@{host}")
    }

    /// A database at this program's version.
    pub(crate) async fn migrated() -> TestDatabase {
        let db = TestDatabase::empty().await;
        db.store.migrate().await.unwrap();
        db
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        self.store.pool.close();
        // A thread and a connection of its own: the test's runtime stands still while it drops.
        let dropper = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                if let Ok(admin) = Store::connect(Options::new(url)).await {
                    let client = admin.client().await.unwrap();
                    let _ = client
                        .batch_execute(&format!("drop database if exists {name} with (force)"))
                        .await;
                }
            });
        });
        let _ = dropper.join();
    }
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> String {
    let (head, query) =
        url.split_once('?').map_or((url, None), |(head, query)| (head, Some(query)));
    let base = match head.rsplit_once('/') {
        Some((base, _)) if base.contains("://") && !base.ends_with('/') => base,
        _ => head.trim_end_matches('/'),
    };
    query.map_or_else(|| format!("{base}/{name}"), |query| format!("{base}/{name}?{query}"))
}

/// An envelope of these parts.
pub(crate) fn envelope(topic: &str, timestamp_ns: u64, message: &'static [u8]) -> wire::Envelope {
    wire::Envelope {
        topic: bytes::Bytes::copy_from_slice(topic.as_bytes()),
        timestamp_ns,
        message: bytes::Bytes::from_static(message),
    }
}
