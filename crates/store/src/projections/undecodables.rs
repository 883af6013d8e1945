//! Envelopes that cannot be decoded, and why. A bad envelope is a row with the reason, never an error.

use sqlx::PgConnection;

use crate::{
    error::Result,
    projection::{Entry, Projection},
    totals::Totals,
};

pub(super) struct Undecodables;

pub(super) struct Row {
    position: i64,
    topic_kind: i16,
    reason: String,
}

impl Projection for Undecodables {
    const NAME: &'static str = "undecodables";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["undecodables"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        if let (None, Err(reason)) = (entry.tombstone(), &entry.reading.payload) {
            rows.push(Row {
                position: entry.logged.position.0,
                topic_kind: entry.reading.topic.kind().code(),
                reason: reason.to_string(),
            });
        }
    }

    async fn write(connection: &mut PgConnection, rows: Vec<Row>, _: &mut Totals) -> Result<()> {
        sqlx::query!(
            "insert into undecodables (position, topic_kind, reason)
             select * from unnest($1::bigint[], $2::smallint[], $3::text[])",
            &rows.iter().map(|r| r.position).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.topic_kind).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.reason.as_str()).collect::<Vec<_>>() as &[&str]
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn erase(connection: &mut PgConnection, erased: &[Entry], _: &mut Totals) -> Result<()> {
        sqlx::query!(
            "delete from undecodables where position = any($1)",
            &erased.iter().map(|entry| entry.logged.position.0).collect::<Vec<_>>()
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
