//! Envelopes that nobody can read, and why. A bad envelope is a row that says so, never an error.

use std::pin::pin;

use deadpool_postgres::Transaction;
use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};

use super::{Entry, Projection};
use crate::error::Result;

pub(super) struct Undecodables;

pub(super) struct Row {
    position: i64,
    topic_kind: i16,
    reason: String,
}

impl Projection for Undecodables {
    const NAME: &'static str = "undecodables";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["derived.undecodables"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        if let Err(reason) = &entry.reading.payload {
            rows.push(Row {
                position: entry.logged.position.0,
                topic_kind: entry.reading.topic.kind().code(),
                reason: reason.to_string(),
            });
        }
    }

    async fn write(tx: &Transaction<'_>, rows: Vec<Row>) -> Result<()> {
        let copy = tx
            .prepare_cached("copy derived.undecodables (position, topic_kind, reason) from stdin (format binary)")
            .await?;
        let types = [Type::INT8, Type::INT2, Type::TEXT];
        let mut writer = pin!(BinaryCopyInWriter::new(tx.copy_in(&copy).await?, &types));
        for r in &rows {
            writer.as_mut().write(&[&r.position, &r.topic_kind, &r.reason]).await?;
        }
        writer.finish().await?;
        Ok(())
    }
}
