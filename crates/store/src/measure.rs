//! The statements of benchmarks, for `bench` alone, in a schema of their own: the cost of the log beside its limits, and the data of `bench api`.

pub mod costs;
pub mod population;
pub mod questions;

use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, PgConnection};
use wire::Envelope;

use crate::{append::Page, copy::Copy, database::Store, error::Result, log, time};

/// COPY of envelopes into a table with the log's columns, behind a position.
async fn copy<'a>(
    connection: &mut PgConnection,
    table: &str,
    envelopes: impl Iterator<Item = &'a Envelope>,
    after: i64,
) -> Result<()> {
    let mut rows = Copy::new(7);
    for (envelope, position) in envelopes.zip(after + 1..) {
        rows.row();
        rows.i64(position);
        rows.i64(time::to_db(envelope.timestamp_ns));
        rows.uuid(log::half(&Sha256::digest(&envelope.message)));
        rows.i16(1);
        rows.bytes(&envelope.topic);
        rows.bytes(envelope.digest().as_bytes());
        rows.bytes(&envelope.message);
    }
    let columns = "(position, timestamp_ns, payload_key, source, topic, digest, message)";
    rows.send(connection, &format!("{table} {columns}")).await?;
    Ok(())
}

async fn run(connection: &mut PgConnection, statements: &'static str) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements.to_owned())).execute(connection).await?;
    Ok(())
}

impl Store {
    /// COPY of these envelopes into one table with the log's columns, in which they are found by position and by digest: a
    /// transaction a page, on one connection, without looking for duplicates. Nothing that keeps envelopes can do with less.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn copy_limit(&self, envelopes: &[Envelope], page: usize) -> Result<()> {
        let mut connection = self.own_connection().await?;
        run(
            &mut connection,
            "create schema if not exists bench;
             drop table if exists bench.copied;
             create table bench.copied (like ground.envelopes including all);
             create index on bench.copied (digest)",
        )
        .await?;
        let mut position = 0_i64;
        for part in envelopes.chunks(page.max(1)) {
            let mut tx = sqlx::Connection::begin(&mut connection).await?;
            copy(&mut tx, "bench.copied", part.iter(), position).await?;
            position += i64::try_from(part.len()).unwrap_or(i64::MAX);
            tx.commit().await?;
        }
        run(&mut connection, "drop table bench.copied").await
    }

    /// Makes the partitions that a log of so many envelopes has; returns how many there are.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn partition_for(&self, envelopes: i64) -> Result<i64> {
        let mut connection = self.own_connection().await?;
        sqlx::query("select ground.extend($1, $2)")
            .bind(crate::maintenance::PARTITION_WIDTH)
            .bind(envelopes)
            .execute(&mut connection)
            .await?;
        let count = sqlx::query_scalar("select count(*) from ground.partitions");
        Ok(count.fetch_one(&mut connection).await?)
    }

    /// The same work as an append, with positions from a sequence and without any waiting: what the order of the
    /// log costs is the difference. A tail of such a log would miss rows.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn append_unordered(&self, pages: &[Page]) -> Result<()> {
        let mut connection = self.own_connection().await?;
        run(
            &mut connection,
            "select pg_advisory_lock(hashtext('bench'));
             create schema if not exists bench;
             create sequence if not exists bench.positions increment by 1000000;
             create table if not exists bench.identities (like ground.identities including all);
             create table if not exists bench.unordered (like ground.envelopes including all);
             select pg_advisory_unlock(hashtext('bench'))",
        )
        .await?;
        for page in pages {
            let mut tx = sqlx::Connection::begin(&mut connection).await?;
            let envelopes = || page.records.iter().map(|record| &record.envelope);
            let mut keys: Vec<_> =
                envelopes().map(|e| (time::to_db(e.timestamp_ns), e.digest())).collect();
            keys.sort_unstable();
            // A million positions a page: pages never overlap, and no appender waits for a number.
            let position: i64 =
                sqlx::query_scalar("select nextval('bench.positions')").fetch_one(&mut *tx).await?;
            sqlx::query(
                "insert into bench.identities (timestamp_ns, digest, position)
                 select t, d, $3 from unnest($1::bigint[], $2::bytea[]) u (t, d) on conflict do nothing",
            )
            .bind(keys.iter().map(|key| key.0).collect::<Vec<_>>())
            .bind(keys.iter().map(|key| key.1.as_bytes().as_slice()).collect::<Vec<_>>())
            .bind(position)
            .execute(&mut *tx)
            .await?;
            copy(&mut tx, "bench.unordered", envelopes(), position).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
