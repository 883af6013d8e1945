//! Conversations: dm and m- topics. An ephemeral topic is a conversation of its own.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use uuid::Uuid;
use wire::{Address, Payload, Topic};

use super::{Entry, Projection};
use crate::{error::Result, time};

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
    const TABLES: &'static [&'static str] = &["derived.conversations"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        let topic = &entry.reading.topic;
        if !matches!(topic, Topic::DirectMessage { .. } | Topic::Conversation { .. }) {
            return;
        }
        let sent_ns = match &entry.reading.payload {
            Ok(Payload::MessageV1(message)) => Some(time::to_db(message.sent_ns)),
            Ok(Payload::MessageV2(message)) => Some(time::to_db(message.created_ns)),
            _ => None,
        };
        rows.push(Row {
            key: entry.topic_key,
            name: entry.logged.topic.clone(),
            // The topic's, whatever bytes strangers put there.
            generation: topic.generation(&entry.logged.topic).code(),
            participants: topic.participants(),
            messages: i64::from(sent_ns.is_some()),
            first_ns: sent_ns,
            last_ns: sent_ns,
        });
    }

    async fn write(tx: &Transaction<'_>, rows: Vec<Row>) -> Result<()> {
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
        let rows: Vec<Row> = folded.into_values().collect();
        let wallet = |pick: fn(&(Address, Address)) -> &Address| {
            rows.iter()
                .map(|r| r.participants.as_ref().map(|pair| pick(pair).as_bytes().as_slice()))
                .collect::<Vec<_>>()
        };
        let statement = tx
            .prepare_cached(
                "insert into derived.conversations as c
                     (key, name, generation, a, b, message_count, first_message_ns, last_message_ns)
                 select * from unnest($1::uuid[], $2::text[], $3::smallint[], $4::bytea[], $5::bytea[], $6::bigint[],
                                      $7::bigint[], $8::bigint[])
                 on conflict (key) do update
                    set message_count    = c.message_count + excluded.message_count,
                        first_message_ns = least(c.first_message_ns, excluded.first_message_ns),
                        last_message_ns  = greatest(c.last_message_ns, excluded.last_message_ns)",
            )
            .await?;
        tx.execute(
            &statement,
            &[
                &rows.iter().map(|r| r.key).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.generation).collect::<Vec<_>>(),
                &wallet(|pair| &pair.0),
                &wallet(|pair| &pair.1),
                &rows.iter().map(|r| r.messages).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.first_ns).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.last_ns).collect::<Vec<_>>(),
            ],
        )
        .await?;
        Ok(())
    }
}
