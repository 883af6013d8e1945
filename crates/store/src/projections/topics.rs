//! Every topic that was ever named: its kind, whose it is, how much stands on it and when.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    error::Result,
    projection::{Entry, Projection},
    time,
    totals::Totals,
};

pub(super) struct Topics;

pub(super) struct Row {
    key: Uuid,
    topic: Bytes,
    name: String,
    kind: i16,
    owner: Option<Vec<u8>>,
    peer: Option<Vec<u8>>,
    envelopes: i64,
    bytes: i64,
    first_ns: i64,
    last_ns: i64,
    first_position: i64,
}

impl Projection for Topics {
    const NAME: &'static str = "topics";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["topic_names", "topic_counts"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        let topic = &entry.reading.topic;
        let (owner, peer) = match topic.participants() {
            Some((a, b)) => (Some(a), Some(b)),
            None => (topic.owner(), None),
        };
        let ns = time::to_db(entry.logged.timestamp_ns);
        rows.push(Row {
            key: entry.topic_key,
            topic: entry.logged.topic.clone(),
            name: entry.topic_name.clone(),
            kind: topic.kind().code(),
            owner: owner.map(|a| a.as_bytes().to_vec()),
            peer: peer.map(|a| a.as_bytes().to_vec()),
            envelopes: 1,
            bytes: i64::from(entry.logged.size),
            first_ns: ns,
            last_ns: ns,
            first_position: entry.logged.position.0,
        });
    }

    async fn write(
        connection: &mut PgConnection,
        rows: Vec<Row>,
        totals: &mut Totals,
    ) -> Result<()> {
        let rows = fold(rows);
        // Most topics are known: one update moves their counts, and returns which are not.
        let known: HashMap<Uuid, i64> = sqlx::query!(
            "update topic_counts c
                set envelope_count = c.envelope_count + u.envelopes,
                    byte_count     = c.byte_count + u.bytes,
                    first_seen_ns  = least(c.first_seen_ns, u.first_ns),
                    last_seen_ns   = greatest(c.last_seen_ns, u.last_ns)
               from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
                    as u (key, envelopes, bytes, first_ns, last_ns)
              where c.key = u.key
             returning c.key, c.first_seen_ns",
            &rows.iter().map(|r| r.key).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.envelopes).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.bytes).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.first_ns).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.last_ns).collect::<Vec<_>>()
        )
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .map(|row| (row.key, row.first_seen_ns))
        .collect();
        let new: Vec<&Row> = rows.iter().filter(|r| !known.contains_key(&r.key)).collect();
        if !new.is_empty() {
            totals.add("topics", "", i64::try_from(new.len()).unwrap_or(i64::MAX));
            insert(connection, &new).await?;
        }
        // An envelope that is older than all before it: rare, but of history that is read backwards.
        let earlier: Vec<&Row> =
            rows.iter().filter(|r| known.get(&r.key) == Some(&r.first_ns)).collect();
        if !earlier.is_empty() {
            sqlx::query!(
                "update topic_names n set first_seen_ns = u.first_ns
                   from unnest($1::uuid[], $2::bigint[]) as u (key, first_ns)
                  where n.key = u.key and n.first_seen_ns > u.first_ns",
                &earlier.iter().map(|r| r.key).collect::<Vec<_>>(),
                &earlier.iter().map(|r| r.first_ns).collect::<Vec<_>>()
            )
            .execute(connection)
            .await?;
        }
        Ok(())
    }
}

async fn insert(connection: &mut PgConnection, new: &[&Row]) -> Result<()> {
    let keys: Vec<Uuid> = new.iter().map(|r| r.key).collect();
    let topics: Vec<&[u8]> = new.iter().map(|r| r.topic.as_ref()).collect();
    let names: Vec<&str> = new.iter().map(|r| r.name.as_str()).collect();
    let owners: Vec<Option<&[u8]>> = new.iter().map(|r| r.owner.as_deref()).collect();
    let peers: Vec<Option<&[u8]>> = new.iter().map(|r| r.peer.as_deref()).collect();
    sqlx::query!(
        "insert into topic_names (key, topic, name, kind, owner, peer, first_seen_ns, first_position)
         select * from unnest($1::uuid[], $2::bytea[], $3::text[], $4::smallint[], $5::bytea[], $6::bytea[],
                              $7::bigint[], $8::bigint[])",
        &keys,
        &topics as &[&[u8]],
        &names as &[&str],
        &new.iter().map(|r| r.kind).collect::<Vec<_>>(),
        &owners as &[Option<&[u8]>],
        &peers as &[Option<&[u8]>],
        &new.iter().map(|r| r.first_ns).collect::<Vec<_>>(),
        &new.iter().map(|r| r.first_position).collect::<Vec<_>>()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "insert into topic_counts (key, envelope_count, byte_count, first_seen_ns, last_seen_ns)
         select * from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])",
        &keys,
        &new.iter().map(|r| r.envelopes).collect::<Vec<_>>(),
        &new.iter().map(|r| r.bytes).collect::<Vec<_>>(),
        &new.iter().map(|r| r.first_ns).collect::<Vec<_>>(),
        &new.iter().map(|r| r.last_ns).collect::<Vec<_>>()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// One row a topic, sorted by key.
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
            }
        }
    }
    folded.into_values().collect()
}
