//! A projection that folds: each row depends on the row before it, so any mistake at the end of a page shows.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use super::*;
use crate::{
    error::Result,
    projection::{Change, Entry, Fold, fold},
    rebuild,
    totals::Totals,
};

/// A chain of digests for each kind of topic: the state is a hash over everything before.
struct Chains;

impl Fold for Chains {
    const NAME: &'static str = "chains";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["chains"];
    type Key = i16;
    type State = (i64, Vec<u8>);
    type Event = Vec<u8>;

    fn derive(entry: &Entry, events: &mut Vec<(i16, Vec<u8>)>) {
        events.push((entry.reading.topic.kind().code(), entry.logged.digest.as_bytes().to_vec()));
    }

    fn apply(state: Option<(i64, Vec<u8>)>, event: Vec<u8>) -> (i64, Vec<u8>) {
        let (length, mut chain) = state.unwrap_or_default();
        chain.extend(event);
        (length + 1, wire::keccak256(&chain).to_vec())
    }

    async fn load(
        connection: &mut PgConnection,
        keys: &[i16],
    ) -> Result<BTreeMap<i16, (i64, Vec<u8>)>> {
        let rows: Vec<(i16, i64, Vec<u8>)> =
            sqlx::query_as("select key, length, chain from chains where key = any($1)")
                .bind(keys)
                .fetch_all(connection)
                .await?;
        Ok(rows.into_iter().map(|(key, length, chain)| (key, (length, chain))).collect())
    }

    async fn save(
        connection: &mut PgConnection,
        changes: Vec<Change<Chains>>,
        _: &mut Totals,
    ) -> Result<()> {
        for change in changes {
            sqlx::query(
                "insert into chains values ($1, $2, $3)
                 on conflict (key) do update set length = excluded.length, chain = excluded.chain",
            )
            .bind(change.key)
            .bind(change.after.0)
            .bind(change.after.1)
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
    }
}

#[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
async fn page_sizes_and_rebuilds_do_not_change_a_fold(_: PgPoolOptions, options: PgConnectOptions) {
    let db = TestDatabase::on(options).await;
    db.execute("create table derived.chains (key smallint primary key, length bigint not null, chain bytea not null)")
        .await;
    let chains = "select string_agg(c::text, ' ' order by key) from derived.chains c";
    let mut all = Vec::new();
    let envelopes = capture(1_200);
    for (nth, page) in [1, 7, 64, 999].into_iter().enumerate() {
        if nth == 0 {
            append(&db, &envelopes[..700]).await;
        } else {
            // Built beside what is served, while the log goes on.
            let mut tx = db.store.begin().await.unwrap();
            rebuild::start(&mut tx, fold::<Chains>().as_ref()).await.unwrap();
            tx.commit().await.unwrap();
            append(&db, &envelopes[700..]).await;
        }
        let config = Config {
            bounds: PageBounds { envelopes: page, bytes: 1 << 20 },
            poll: Duration::from_millis(5),
        };
        let verifier = Arc::new(Verifier::new(1024));
        let mut projector =
            Projector::of(vec![fold::<Chains>()], db.store.clone(), verifier, config);
        let head = projector.catch_up().await.unwrap();
        assert_eq!(db.value::<i64>("select sum(length)::bigint from derived.chains").await, head.0);
        all.push(db.value::<String>(chains).await);
    }
    assert_ne!(all[0], all[1], "the second part of the log changes something");
    assert_eq!(all[1], all[2]);
    assert_eq!(all[1], all[3]);
}
