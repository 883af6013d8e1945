//! PostgreSQL's binary COPY format: the cheapest way to insert many rows into a table without looking for duplicates.

use bytes::{BufMut, BytesMut};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::{Error, Result};

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
/// Microseconds between 1970 and PostgreSQL's own epoch, 2000-01-01.
const EPOCH_US: i64 = 946_684_800_000_000;
/// Data are sent in parts of about this size.
const PART_BYTES: usize = 1 << 20;

/// Rows on their way into a table. A row is [`Copy::row`] and then one value for each column, in order.
pub(crate) struct Copy {
    buffer: BytesMut,
    columns: i16,
}

impl Copy {
    /// Rows of so many columns.
    pub(crate) fn new(columns: i16) -> Copy {
        let mut buffer = BytesMut::with_capacity(PART_BYTES);
        buffer.put_slice(SIGNATURE);
        // Flags and the length of an extension, of which there are none.
        buffer.put_u64(0);
        Copy { buffer, columns }
    }

    /// Begins a row.
    pub(crate) fn row(&mut self) {
        self.buffer.put_i16(self.columns);
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        // Longer than PostgreSQL takes: the length is wrong then, and the server refuses the row.
        self.buffer.put_i32(i32::try_from(value.len()).unwrap_or(i32::MAX));
        self.buffer.put_slice(value);
    }

    pub(crate) fn null(&mut self) {
        self.buffer.put_i32(-1);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    pub(crate) fn bool(&mut self, value: bool) {
        self.bytes(&[u8::from(value)]);
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.bytes(value.as_bytes());
    }

    pub(crate) fn time(&mut self, value: DateTime<Utc>) {
        self.i64(value.timestamp_micros().saturating_sub(EPOCH_US));
    }

    /// Sends the rows. The statement is `copy <table> (<columns>) from stdin (format binary)`.
    pub(crate) async fn send(mut self, connection: &mut PgConnection, into: &str) -> Result<u64> {
        self.buffer.put_i16(-1);
        let statement = format!("copy {into} from stdin (format binary)");
        let mut copy = connection.copy_in_raw(&statement).await?;
        for part in self.buffer.chunks(PART_BYTES) {
            if let Err(error) = copy.send(part).await {
                return Err(match copy.abort("the client failed").await {
                    Err(refusal) if refusal.as_database_error().is_some() => refusal.into(),
                    _ => Error::from(error),
                });
            }
        }
        Ok(copy.finish().await?)
    }
}
