//! How much: envelopes and bytes by time, payload kind, topic kind and generation. The first rollup, and the pattern for
//! others: `write` adds, and the watermark moves in the same transaction, so each envelope is counted once.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;

use super::{Entry, Projection};
use crate::error::Result;

pub(super) struct Volume;

/// Nanoseconds in a minute.
const MINUTE: u64 = 60_000_000_000;

/// Minute, payload kind, topic kind, generation.
type Key = (i32, i16, i16, i16);

pub(super) struct Row {
    key: Key,
    bytes: i64,
}

impl Projection for Volume {
    const NAME: &'static str = "volume";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["derived.volume_minutes", "derived.volume_hours"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        // The last minute of u64 nanoseconds is 307,445,734: every time has one.
        let minute = i32::try_from(entry.logged.timestamp_ns / MINUTE).unwrap_or(i32::MAX);
        let reading = &entry.reading;
        let key =
            (minute, reading.kind().code(), reading.topic.kind().code(), reading.generation.code());
        rows.push(Row {
            key,
            bytes: i64::try_from(entry.logged.message.len()).unwrap_or(i64::MAX),
        });
    }

    async fn write(tx: &Transaction<'_>, rows: Vec<Row>) -> Result<()> {
        let (mut minutes, mut hours) = (BTreeMap::new(), BTreeMap::new());
        for Row { key, bytes } in rows {
            let hour = (key.0 / 60, key.1, key.2, key.3);
            for sum in
                [minutes.entry(key).or_insert((0_i64, 0_i64)), hours.entry(hour).or_insert((0, 0))]
            {
                *sum = (sum.0 + 1, sum.1 + bytes);
            }
        }
        let minute = "insert into derived.volume_minutes as v (minute, kind, topic_kind, generation, envelopes, bytes)
             select * from unnest($1::integer[], $2::smallint[], $3::smallint[], $4::smallint[], $5::bigint[], $6::bigint[])
             on conflict (minute, kind, topic_kind, generation) do update
                set envelopes = v.envelopes + excluded.envelopes, bytes = v.bytes + excluded.bytes";
        let hour = "insert into derived.volume_hours as v (hour, kind, topic_kind, generation, envelopes, bytes)
             select * from unnest($1::integer[], $2::smallint[], $3::smallint[], $4::smallint[], $5::bigint[], $6::bigint[])
             on conflict (hour, kind, topic_kind, generation) do update
                set envelopes = v.envelopes + excluded.envelopes, bytes = v.bytes + excluded.bytes";
        add(tx, minute, &minutes).await?;
        add(tx, hour, &hours).await
    }
}

async fn add(
    tx: &Transaction<'_>,
    statement: &str,
    sums: &BTreeMap<Key, (i64, i64)>,
) -> Result<()> {
    let statement = tx.prepare_cached(statement).await?;
    tx.execute(
        &statement,
        &[
            &sums.keys().map(|key| key.0).collect::<Vec<_>>(),
            &sums.keys().map(|key| key.1).collect::<Vec<_>>(),
            &sums.keys().map(|key| key.2).collect::<Vec<_>>(),
            &sums.keys().map(|key| key.3).collect::<Vec<_>>(),
            &sums.values().map(|sum| sum.0).collect::<Vec<_>>(),
            &sums.values().map(|sum| sum.1).collect::<Vec<_>>(),
        ],
    )
    .await?;
    Ok(())
}
