//! One narrow row an envelope: what lists, filters and counts need without touching the log.

use std::pin::pin;

use deadpool_postgres::Transaction;
use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};
use uuid::Uuid;

use super::{Entry, Projection};
use crate::{error::Result, time};

pub(super) struct Envelopes;

pub(super) struct Row {
    position: i64,
    timestamp_ns: i64,
    topic_key: Uuid,
    payload_key: Uuid,
    size: i32,
    kind: i16,
    topic_kind: i16,
    generation: i16,
}

impl Projection for Envelopes {
    const NAME: &'static str = "envelopes";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["derived.envelopes"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        rows.push(Row {
            position: entry.logged.position.0,
            timestamp_ns: time::to_db(entry.logged.timestamp_ns),
            topic_key: entry.topic_key,
            payload_key: entry.payload_key,
            size: i32::try_from(entry.logged.message.len()).unwrap_or(i32::MAX),
            kind: entry.reading.kind().code(),
            topic_kind: entry.reading.topic.kind().code(),
            generation: entry.reading.generation.code(),
        });
    }

    async fn write(tx: &Transaction<'_>, rows: Vec<Row>) -> Result<()> {
        let copy = tx
            .prepare_cached(
                "copy derived.envelopes
                     (position, timestamp_ns, topic_key, payload_key, size, kind, topic_kind, generation)
                 from stdin (format binary)",
            )
            .await?;
        let types = [
            Type::INT8,
            Type::INT8,
            Type::UUID,
            Type::UUID,
            Type::INT4,
            Type::INT2,
            Type::INT2,
            Type::INT2,
        ];
        let mut writer = pin!(BinaryCopyInWriter::new(tx.copy_in(&copy).await?, &types));
        for r in &rows {
            writer
                .as_mut()
                .write(&[
                    &r.position,
                    &r.timestamp_ns,
                    &r.topic_key,
                    &r.payload_key,
                    &r.size,
                    &r.kind,
                    &r.topic_kind,
                    &r.generation,
                ])
                .await?;
        }
        writer.finish().await?;
        Ok(())
    }
}
