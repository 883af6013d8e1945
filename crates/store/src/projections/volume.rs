//! How much: envelopes and bytes by time, payload kind, topic kind and generation. The first rollup, and the pattern for
//! others: `write` adds, and the watermark moves in the same transaction, so each envelope is counted once.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::{
    error::Result,
    projection::{Entry, Projection},
    totals::Totals,
};

pub(super) struct Volume;

/// Nanoseconds in a minute.
const MINUTE: u64 = 60_000_000_000;

/// Minute, payload kind, topic kind, generation.
type Key = (i32, i16, i16, i16);
/// Envelopes and bytes.
type Sums = BTreeMap<Key, (i64, i64)>;

pub(super) struct Row {
    key: Key,
    bytes: i64,
}

impl Projection for Volume {
    const NAME: &'static str = "volume";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["volume_minutes", "volume_hours"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        // The last minute of u64 nanoseconds is 307,445,734: every time has one.
        let minute = i32::try_from(entry.logged.timestamp_ns / MINUTE).unwrap_or(i32::MAX);
        let topic_kind = entry.reading.topic.kind().code();
        let key = (minute, entry.kind().code(), topic_kind, entry.generation().code());
        rows.push(Row { key, bytes: i64::from(entry.logged.size) });
    }

    async fn write(connection: &mut PgConnection, rows: Vec<Row>, _: &mut Totals) -> Result<()> {
        let (mut minutes, mut hours) = (Sums::new(), Sums::new());
        for Row { key, bytes } in rows {
            let hour = (key.0 / 60, key.1, key.2, key.3);
            for sum in [minutes.entry(key).or_default(), hours.entry(hour).or_default()] {
                *sum = (sum.0 + 1, sum.1 + bytes);
            }
        }
        let columns = Columns::of(minutes);
        sqlx::query!(
            "insert into volume_minutes as v (minute, kind, topic_kind, generation, envelopes, bytes)
             select * from unnest($1::integer[], $2::smallint[], $3::smallint[], $4::smallint[], $5::bigint[], $6::bigint[])
             on conflict (minute, kind, topic_kind, generation) do update
                set envelopes = v.envelopes + excluded.envelopes, bytes = v.bytes + excluded.bytes",
            &columns.times,
            &columns.kinds,
            &columns.topic_kinds,
            &columns.generations,
            &columns.envelopes,
            &columns.bytes
        )
        .execute(&mut *connection)
        .await?;
        let columns = Columns::of(hours);
        sqlx::query!(
            "insert into volume_hours as v (hour, kind, topic_kind, generation, envelopes, bytes)
             select * from unnest($1::integer[], $2::smallint[], $3::smallint[], $4::smallint[], $5::bigint[], $6::bigint[])
             on conflict (hour, kind, topic_kind, generation) do update
                set envelopes = v.envelopes + excluded.envelopes, bytes = v.bytes + excluded.bytes",
            &columns.times,
            &columns.kinds,
            &columns.topic_kinds,
            &columns.generations,
            &columns.envelopes,
            &columns.bytes
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// The sums, a list a column.
#[derive(Default)]
struct Columns {
    times: Vec<i32>,
    kinds: Vec<i16>,
    topic_kinds: Vec<i16>,
    generations: Vec<i16>,
    envelopes: Vec<i64>,
    bytes: Vec<i64>,
}

impl Columns {
    fn of(sums: Sums) -> Columns {
        let mut columns = Columns::default();
        for ((time, kind, topic_kind, generation), (envelopes, bytes)) in sums {
            columns.times.push(time);
            columns.kinds.push(kind);
            columns.topic_kinds.push(topic_kind);
            columns.generations.push(generation);
            columns.envelopes.push(envelopes);
            columns.bytes.push(bytes);
        }
        columns
    }
}
