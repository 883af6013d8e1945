//! Every topic that was ever named: its kind, whose it is, how much stands on it and when.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use uuid::Uuid;

use super::{Entry, Projection};
use crate::{error::Result, time};

pub(super) struct Topics;

pub(super) struct Row {
    key: Uuid,
    name: String,
    kind: i16,
    owner: Option<Vec<u8>>,
    peer: Option<Vec<u8>>,
    envelopes: i64,
    bytes: i64,
    first_ns: i64,
    last_ns: i64,
    first_position: i64,
    last_position: i64,
}

impl Projection for Topics {
    const NAME: &'static str = "topics";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["derived.topic_names", "derived.topic_counts"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        let topic = &entry.reading.topic;
        let (owner, peer) = match topic.participants() {
            Some((a, b)) => (Some(a), Some(b)),
            None => (topic.owner(), None),
        };
        let (ns, position) = (time::to_db(entry.logged.timestamp_ns), entry.logged.position.0);
        rows.push(Row {
            key: entry.topic_key,
            name: entry.logged.topic.clone(),
            kind: topic.kind().code(),
            owner: owner.map(|a| a.as_bytes().to_vec()),
            peer: peer.map(|a| a.as_bytes().to_vec()),
            envelopes: 1,
            bytes: i64::try_from(entry.logged.message.len()).unwrap_or(i64::MAX),
            first_ns: ns,
            last_ns: ns,
            first_position: position,
            last_position: position,
        });
    }

    async fn write(tx: &Transaction<'_>, rows: Vec<Row>) -> Result<()> {
        let rows = fold(rows);
        let keys: Vec<_> = rows.iter().map(|r| r.key).collect();
        // Most names are known: those are passed over without being locked.
        let names = tx
            .prepare_cached(
                "insert into derived.topic_names as t (key, name, kind, owner, peer, first_seen_ns, first_position)
                 select * from unnest($1::uuid[], $2::text[], $3::smallint[], $4::bytea[], $5::bytea[], $6::bigint[],
                                      $7::bigint[]) as u (key, name, kind, owner, peer, first_seen_ns, first_position)
                  where not exists (select from derived.topic_names known
                                     where known.key = u.key
                                       and known.first_seen_ns <= u.first_seen_ns
                                       and known.first_position <= u.first_position)
                 on conflict (key) do update
                    set first_seen_ns  = least(t.first_seen_ns, excluded.first_seen_ns),
                        first_position = least(t.first_position, excluded.first_position)",
            )
            .await?;
        tx.execute(
            &names,
            &[
                &keys,
                &rows.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.kind).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.owner.as_deref()).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.peer.as_deref()).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.first_ns).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.first_position).collect::<Vec<_>>(),
            ],
        )
        .await?;
        let counts = tx
            .prepare_cached(
                "insert into derived.topic_counts as t (key, envelope_count, byte_count, last_seen_ns, last_position)
                 select * from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
                 on conflict (key) do update
                    set envelope_count = t.envelope_count + excluded.envelope_count,
                        byte_count     = t.byte_count + excluded.byte_count,
                        last_seen_ns   = greatest(t.last_seen_ns, excluded.last_seen_ns),
                        last_position  = greatest(t.last_position, excluded.last_position)",
            )
            .await?;
        tx.execute(
            &counts,
            &[
                &keys,
                &rows.iter().map(|r| r.envelopes).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.bytes).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.last_ns).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.last_position).collect::<Vec<_>>(),
            ],
        )
        .await?;
        Ok(())
    }
}

fn fold(rows: Vec<Row>) -> Vec<Row> {
    let mut folded: BTreeMap<Uuid, Row> = BTreeMap::new();
    for row in rows {
        match folded.get_mut(&row.key) {
            None => {
                folded.insert(row.key, row);
            }
            Some(sum) => {
                sum.envelopes += row.envelopes;
                sum.bytes += row.bytes;
                sum.first_ns = sum.first_ns.min(row.first_ns);
                sum.last_ns = sum.last_ns.max(row.last_ns);
                sum.first_position = sum.first_position.min(row.first_position);
                sum.last_position = sum.last_position.max(row.last_position);
            }
        }
    }
    folded.into_values().collect()
}
