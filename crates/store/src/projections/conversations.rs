//! Conversations: dm and m- topics. An ephemeral topic is a conversation of its own.

use std::collections::{BTreeMap, HashSet};

use sqlx::PgConnection;
use uuid::Uuid;
use wire::{Address, PayloadKind, Topic};

use crate::{
    error::Result,
    projection::{Entry, Projection},
    time,
    totals::Totals,
};

pub(super) struct Conversations;

pub(super) struct Row {
    key: Uuid,
    name: String,
    generation: i16,
    participants: Option<(Address, Address)>,
    messages: i64,
    first_ns: Option<i64>,
    last_ns: Option<i64>,
}

impl Projection for Conversations {
    const NAME: &'static str = "conversations";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["conversations"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        let topic = &entry.reading.topic;
        if !matches!(topic, Topic::DirectMessage { .. } | Topic::Conversation { .. }) {
            return;
        }
        let is_message = matches!(entry.kind(), PayloadKind::MessageV1 | PayloadKind::MessageV2);
        let sent_ns = entry.sent_ns().filter(|_| is_message).map(time::to_db);
        rows.push(Row {
            key: entry.topic_key,
            name: entry.topic_name.clone(),
            // The topic's, whatever bytes strangers put there.
            generation: topic.generation(&entry.topic_name).code(),
            participants: topic.participants(),
            messages: i64::from(sent_ns.is_some()),
            first_ns: sent_ns,
            last_ns: sent_ns,
        });
    }

    async fn write(
        connection: &mut PgConnection,
        rows: Vec<Row>,
        totals: &mut Totals,
    ) -> Result<()> {
        let rows = fold(rows);
        let known: HashSet<Uuid> = sqlx::query_scalar!(
            "update conversations c
                set message_count    = c.message_count + u.messages,
                    first_message_ns = least(c.first_message_ns, u.first_ns),
                    last_message_ns  = greatest(c.last_message_ns, u.last_ns)
               from unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[]) as u (key, messages, first_ns, last_ns)
              where c.key = u.key
             returning c.key",
            &rows.iter().map(|r| r.key).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.messages).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.first_ns).collect::<Vec<_>>() as &[Option<i64>],
            &rows.iter().map(|r| r.last_ns).collect::<Vec<_>>() as &[Option<i64>]
        )
        .fetch_all(&mut *connection)
        .await?
        .into_iter()
        .collect();
        let new: Vec<&Row> = rows.iter().filter(|r| !known.contains(&r.key)).collect();
        if new.is_empty() {
            return Ok(());
        }
        for row in &new {
            totals.add("conversations", "", 1);
            totals.add("conversations", row.generation, 1);
        }
        let wallet = |pick: fn(&(Address, Address)) -> &Address| {
            new.iter()
                .map(|r| r.participants.as_ref().map(|pair| pick(pair).as_bytes().as_slice()))
                .collect::<Vec<_>>()
        };
        sqlx::query!(
            "insert into conversations
                 (key, name, generation, a, b, message_count, first_message_ns, last_message_ns)
             select * from unnest($1::uuid[], $2::text[], $3::smallint[], $4::bytea[], $5::bytea[], $6::bigint[],
                                  $7::bigint[], $8::bigint[])",
            &new.iter().map(|r| r.key).collect::<Vec<_>>(),
            &new.iter().map(|r| r.name.as_str()).collect::<Vec<_>>() as &[&str],
            &new.iter().map(|r| r.generation).collect::<Vec<_>>(),
            &wallet(|pair| &pair.0) as &[Option<&[u8]>],
            &wallet(|pair| &pair.1) as &[Option<&[u8]>],
            &new.iter().map(|r| r.messages).collect::<Vec<_>>(),
            &new.iter().map(|r| r.first_ns).collect::<Vec<_>>() as &[Option<i64>],
            &new.iter().map(|r| r.last_ns).collect::<Vec<_>>() as &[Option<i64>]
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// One row a conversation, sorted by key.
fn fold(rows: Vec<Row>) -> Vec<Row> {
    let mut folded: BTreeMap<Uuid, Row> = BTreeMap::new();
    for row in rows {
        match folded.get_mut(&row.key) {
            None => {
                folded.insert(row.key, row);
            }
            Some(sum) => {
                sum.messages += row.messages;
                sum.first_ns = sum.first_ns.into_iter().chain(row.first_ns).min();
                sum.last_ns = sum.last_ns.max(row.last_ns);
            }
        }
    }
    folded.into_values().collect()
}
