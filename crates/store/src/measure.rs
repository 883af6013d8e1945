//! What the log costs, against what it could cost: for `bench` alone, in a schema of its own. And what `bench api` asks.

pub mod population;
pub mod questions;

use std::pin::pin;

use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};
use wire::Envelope;

use crate::{append::Page, database::Store, error::Result, time};

const TYPES: [Type; 6] = [Type::INT8, Type::INT8, Type::TEXT, Type::TEXT, Type::BYTEA, Type::BYTEA];

impl Store {
    /// COPY of these envelopes into a table with the log's columns and indexes, a transaction a page, on one connection,
    /// without looking for duplicates: what no append can beat.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn copy_limit(&self, envelopes: &[Envelope], page: usize) -> Result<()> {
        let mut client = self.client().await?;
        client
            .batch_execute(
                "create schema if not exists bench;
                 drop table if exists bench.copied;
                 create table bench.copied (like ground.envelopes including all)",
            )
            .await?;
        let mut position = 0_i64;
        for part in envelopes.chunks(page.max(1)) {
            let tx = client.transaction().await?;
            let sink = tx
                .copy_in("copy bench.copied (position, timestamp_ns, source, topic, digest, message) from stdin (format binary)")
                .await?;
            let mut writer = pin!(BinaryCopyInWriter::new(sink, &TYPES));
            for e in part {
                position += 1;
                let topic = String::from_utf8_lossy(&e.topic);
                let ns = time::to_db(e.timestamp_ns);
                let digest = e.digest();
                writer
                    .as_mut()
                    .write(&[
                        &position,
                        &ns,
                        &"bench",
                        &topic.as_ref(),
                        &digest.as_bytes().as_slice(),
                        &e.message.as_ref(),
                    ])
                    .await?;
            }
            writer.finish().await?;
            tx.commit().await?;
        }
        client.batch_execute("drop table bench.copied").await?;
        Ok(())
    }

    /// The same work as an append, with positions from a sequence and nobody waiting for anybody: what the order of the
    /// log costs is the difference. A tail of such a log would miss rows.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn append_unordered(&self, pages: &[Page]) -> Result<()> {
        let mut client = self.client().await?;
        client
            .batch_execute(
                "select pg_advisory_lock(hashtext('bench'));
                 create schema if not exists bench;
                 create sequence if not exists bench.positions increment by 1000000;
                 create table if not exists bench.identities (like ground.identities including all);
                 create table if not exists bench.unordered (like ground.envelopes including all);
                 select pg_advisory_unlock(hashtext('bench'))",
            )
            .await?;
        for page in pages {
            let tx = client.transaction().await?;
            let mut keys: Vec<_> =
                page.envelopes.iter().map(|e| (time::to_db(e.timestamp_ns), e.digest())).collect();
            keys.sort_unstable();
            let times: Vec<i64> = keys.iter().map(|key| key.0).collect();
            let digests: Vec<&[u8]> = keys.iter().map(|key| key.1.as_bytes().as_slice()).collect();
            let claim = tx
                .prepare_cached(
                    "insert into bench.identities (timestamp_ns, digest)
                     select * from unnest($1::bigint[], $2::bytea[]) on conflict do nothing
                     returning timestamp_ns, digest",
                )
                .await?;
            tx.query(&claim, &[&times, &digests]).await?;
            // A million positions a page: pages never meet, and nobody waits for a number.
            let next = tx.prepare_cached("select nextval('bench.positions')").await?;
            let mut position: i64 = tx.query_one(&next, &[]).await?.get(0);
            let copy = tx
                .prepare_cached(
                    "copy bench.unordered (position, timestamp_ns, source, topic, digest, message)
                     from stdin (format binary)",
                )
                .await?;
            let mut writer = pin!(BinaryCopyInWriter::new(tx.copy_in(&copy).await?, &TYPES));
            for e in &page.envelopes {
                position += 1;
                let topic = String::from_utf8_lossy(&e.topic);
                let ns = time::to_db(e.timestamp_ns);
                let digest = e.digest();
                writer
                    .as_mut()
                    .write(&[
                        &position,
                        &ns,
                        &page.source,
                        &topic.as_ref(),
                        &digest.as_bytes().as_slice(),
                        &e.message.as_ref(),
                    ])
                    .await?;
            }
            writer.finish().await?;
            tx.commit().await?;
        }
        Ok(())
    }
}
