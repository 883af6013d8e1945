//! V1 and V2 messages: one row each, however many topics hold a copy of the bytes. The first copy in the log decides which
//! conversation a message belongs to, so publishing its bytes elsewhere does not move it.

mod erase;
mod write;

use sqlx::PgConnection;
use uuid::Uuid;
use wire::{Address, Generation, Payload, Topic, Verification, topic::name};

use crate::{
    error::Result,
    log,
    projection::{Entry, Projection},
    time,
    totals::Totals,
};

pub(super) struct Messages;

pub(super) struct Row {
    id: Uuid,
    sent_ns: i64,
    conversation: Uuid,
    sender: Option<Address>,
    recipient: Option<Address>,
    generation: i16,
    verification: i16,
    should_push: Option<bool>,
    has_sender_hmac: bool,
    /// All copies in the page, in the order of the log.
    copies: Vec<Copy>,
}

/// One copy: what the message is when it is the first.
#[derive(Clone, Copy)]
pub(super) struct Copy {
    position: i64,
    conversation: Uuid,
    verification: i16,
}

impl Row {
    /// Of the first copy, with all that it is.
    fn of(position: i64, mut row: Row) -> Row {
        let (conversation, verification) = (row.conversation, row.verification);
        row.copies = vec![Copy { position, conversation, verification }];
        row
    }
}

impl Projection for Messages {
    const NAME: &'static str = "messages";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["messages", "message_copies"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        let (id, position) = (entry.logged.payload_key, entry.logged.position.0);
        let copies = Vec::new();
        match entry.payload() {
            Some(Payload::MessageV1(message)) => rows.push(Row::of(
                position,
                Row {
                    id,
                    copies,
                    conversation: match entry.reading.topic {
                        Topic::DirectMessage { .. }
                            if message.verification == Verification::Verified =>
                        {
                            entry.topic_key
                        }
                        // An introduction, or a stray copy: the conversation is the one that the header's parties have.
                        _ => log::topic_key(
                            name::direct_message(message.sender, message.recipient).as_bytes(),
                        ),
                    },
                    sent_ns: time::to_db(message.sent_ns),
                    sender: Some(message.sender),
                    recipient: Some(message.recipient),
                    generation: Generation::V1.code(),
                    verification: message.verification.code(),
                    should_push: None,
                    has_sender_hmac: false,
                },
            )),
            Some(Payload::MessageV2(message)) => rows.push(Row::of(
                position,
                Row {
                    id,
                    copies,
                    conversation: entry.topic_key,
                    sent_ns: time::to_db(message.created_ns),
                    sender: None,
                    recipient: None,
                    generation: Generation::V2.code(),
                    verification: Verification::Unsigned.code(),
                    should_push: message.should_push,
                    has_sender_hmac: message.has_sender_hmac,
                },
            )),
            _ => {}
        }
    }

    async fn write(
        connection: &mut PgConnection,
        rows: Vec<Row>,
        totals: &mut Totals,
    ) -> Result<()> {
        write::write(connection, rows, totals).await
    }

    async fn erase(
        connection: &mut PgConnection,
        erased: &[Entry],
        totals: &mut Totals,
    ) -> Result<()> {
        erase::erase(connection, erased, totals).await
    }
}
