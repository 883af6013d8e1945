//! V1 and V2 messages: one row each, however many topics hold a copy of the bytes.

use std::collections::BTreeMap;

use deadpool_postgres::Transaction;
use uuid::Uuid;
use wire::{Address, Generation, Payload, Topic, Verification, topic::name};

use super::{Entry, Projection};
use crate::{error::Result, log, time};

pub(super) struct Messages;

pub(super) struct Row {
    id: Uuid,
    conversation: Uuid,
    sent_ns: i64,
    first_position: i64,
    sender: Option<Address>,
    recipient: Option<Address>,
    generation: i16,
    verification: i16,
    should_push: Option<bool>,
    has_sender_hmac: bool,
}

impl Projection for Messages {
    const NAME: &'static str = "messages";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["derived.messages"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        let first_position = entry.logged.position.0;
        match &entry.reading.payload {
            Ok(Payload::MessageV1(message)) => rows.push(Row {
                id: entry.payload_key,
                conversation: match entry.reading.topic {
                    Topic::DirectMessage { .. }
                        if message.verification == Verification::Verified =>
                    {
                        entry.topic_key
                    }
                    // An introduction, or a stray copy: the conversation is the one that the header's parties have.
                    _ => log::topic_key(&name::direct_message(
                        message.sender.wallet,
                        message.recipient.wallet,
                    )),
                },
                sent_ns: time::to_db(message.sent_ns),
                first_position,
                sender: Some(message.sender.wallet),
                recipient: Some(message.recipient.wallet),
                generation: Generation::V1.code(),
                verification: message.verification.code(),
                should_push: None,
                has_sender_hmac: false,
            }),
            Ok(Payload::MessageV2(message)) => rows.push(Row {
                id: entry.payload_key,
                conversation: entry.topic_key,
                sent_ns: time::to_db(message.created_ns),
                first_position,
                sender: None,
                recipient: None,
                generation: Generation::V2.code(),
                verification: Verification::Unsigned.code(),
                should_push: message.should_push,
                has_sender_hmac: message.has_sender_hmac,
            }),
            _ => {}
        }
    }

    async fn write(tx: &Transaction<'_>, rows: Vec<Row>) -> Result<()> {
        let mut folded: BTreeMap<Uuid, Row> = BTreeMap::new();
        for row in rows {
            match folded.get_mut(&row.id) {
                None => {
                    folded.insert(row.id, row);
                }
                Some(sum) => {
                    sum.verification = sum.verification.min(row.verification);
                    sum.conversation = sum.conversation.min(row.conversation);
                    sum.first_position = sum.first_position.min(row.first_position);
                }
            }
        }
        let rows: Vec<Row> = folded.into_values().collect();
        let statement = tx
            .prepare_cached(
                "insert into derived.messages as m
                     (id, conversation, sent_ns, first_position, sender, recipient, generation, verification,
                      should_push, has_sender_hmac)
                 select * from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bytea[], $6::bytea[],
                                      $7::smallint[], $8::smallint[], $9::boolean[], $10::boolean[])
                 on conflict (id) do update
                    set verification   = least(m.verification, excluded.verification),
                        conversation   = least(m.conversation, excluded.conversation),
                        first_position = least(m.first_position, excluded.first_position)",
            )
            .await?;
        tx.execute(
            &statement,
            &[
                &rows.iter().map(|r| r.id).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.conversation).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.sent_ns).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.first_position).collect::<Vec<_>>(),
                &rows
                    .iter()
                    .map(|r| r.sender.as_ref().map(|a| a.as_bytes().as_slice()))
                    .collect::<Vec<_>>(),
                &rows
                    .iter()
                    .map(|r| r.recipient.as_ref().map(|a| a.as_bytes().as_slice()))
                    .collect::<Vec<_>>(),
                &rows.iter().map(|r| r.generation).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.verification).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.should_push).collect::<Vec<_>>(),
                &rows.iter().map(|r| r.has_sender_hmac).collect::<Vec<_>>(),
            ],
        )
        .await?;
        Ok(())
    }
}
