//! One narrow row an envelope: what lists, filters and look-ups need without touching the log.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;
use wire::Digest;

use crate::{
    copy::Copy,
    error::Result,
    projection::{Entry, Projection},
    time,
    totals::Totals,
};

pub(super) struct Envelopes;

pub(super) struct Row {
    position: i64,
    timestamp_ns: i64,
    indexed_at: DateTime<Utc>,
    topic_key: Uuid,
    payload_key: Uuid,
    size: i32,
    kind: i16,
    topic_kind: i16,
    generation: i16,
    erased: bool,
    digest: Digest,
}

impl Projection for Envelopes {
    const NAME: &'static str = "envelopes";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["envelopes"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        rows.push(Row {
            position: entry.logged.position.0,
            timestamp_ns: time::to_db(entry.logged.timestamp_ns),
            indexed_at: entry.logged.indexed_at,
            topic_key: entry.topic_key,
            payload_key: entry.logged.payload_key,
            size: entry.logged.size,
            kind: entry.kind().code(),
            topic_kind: entry.reading.topic.kind().code(),
            generation: entry.generation().code(),
            erased: entry.tombstone().is_some(),
            digest: entry.logged.digest,
        });
    }

    async fn write(connection: &mut PgConnection, rows: Vec<Row>, _: &mut Totals) -> Result<()> {
        let mut copy = Copy::new(11);
        for r in &rows {
            copy.row();
            copy.i64(r.position);
            copy.i64(r.timestamp_ns);
            copy.time(r.indexed_at);
            copy.uuid(r.topic_key);
            copy.uuid(r.payload_key);
            copy.i32(r.size);
            copy.i16(r.kind);
            copy.i16(r.topic_kind);
            copy.i16(r.generation);
            copy.bool(r.erased);
            copy.bytes(r.digest.as_bytes());
        }
        let columns = "envelopes (position, timestamp_ns, indexed_at, topic_key, payload_key, size, kind, topic_kind,
                                  generation, erased, digest)";
        copy.send(connection, columns).await?;
        Ok(())
    }

    async fn erase(connection: &mut PgConnection, erased: &[Entry], _: &mut Totals) -> Result<()> {
        sqlx::query!(
            "update envelopes set erased = true where position = any($1)",
            &erased.iter().map(|entry| entry.logged.position.0).collect::<Vec<_>>()
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
