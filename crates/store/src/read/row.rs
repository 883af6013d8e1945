//! From columns to values. What the database holds was written by this program, so a value that cannot be is a
//! contradiction, which is reported and not smoothed over.

use sqlx::{Decode, Postgres, Row as _, Type, ValueRef as _, postgres::PgRow};
use wire::{Address, Digest, Generation, PayloadKind, TopicKind, Verification};

use crate::{
    error::{Error, Result},
    time,
};

/// Reads columns one after another.
pub(super) struct Columns<'a> {
    row: &'a PgRow,
    next: usize,
    table: &'static str,
}

impl<'a> Columns<'a> {
    /// From the column with this number on.
    pub(super) fn of(row: &'a PgRow, first: usize) -> Self {
        Columns { row, next: first, table: "a row" }
    }

    /// Names the table that the next columns are of, for the message about a contradiction.
    pub(super) fn table(&mut self, table: &'static str) {
        self.table = table;
    }

    pub(super) fn get<T: Decode<'a, Postgres> + Type<Postgres>>(&mut self) -> Result<T> {
        let nth = self.next;
        self.next += 1;
        // The types of a statement's columns follow from its text. Debug builds check that each column is read as what it
        // is; to do so for each row would cost more than to decode it.
        if cfg!(debug_assertions) {
            return Ok(self.row.try_get(nth)?);
        }
        Ok(self.row.try_get_unchecked(nth)?)
    }

    /// Is the next column null? The first column of a table never is, which shows whether an outer join found a row.
    pub(super) fn missing(&self) -> Result<bool> {
        Ok(self.row.try_get_raw(self.next)?.is_null())
    }

    /// Skips columns, for instance those of a row that an outer join did not find.
    pub(super) fn skip(&mut self, columns: usize) {
        self.next += columns;
    }

    fn contradiction(&self, what: String) -> Error {
        Error::Contradiction { table: self.table, what }
    }

    pub(super) fn count(&mut self) -> Result<u64> {
        let count: i64 = self.get()?;
        u64::try_from(count).map_err(|_| self.contradiction(format!("a count is {count}")))
    }

    pub(super) fn time(&mut self) -> Result<u64> {
        Ok(time::from_db(self.get()?))
    }

    pub(super) fn maybe_time(&mut self) -> Result<Option<u64>> {
        Ok(self.get::<Option<i64>>()?.map(time::from_db))
    }

    pub(super) fn address(&mut self) -> Result<Address> {
        let bytes: &[u8] = self.get()?;
        Address::try_from(bytes)
            .map_err(|_| self.contradiction(format!("an address has {} bytes", bytes.len())))
    }

    pub(super) fn maybe_address(&mut self) -> Result<Option<Address>> {
        if self.missing()? {
            self.skip(1);
            return Ok(None);
        }
        self.address().map(Some)
    }

    pub(super) fn digest(&mut self) -> Result<Digest> {
        let bytes: &[u8] = self.get()?;
        Digest::try_from(bytes)
            .map_err(|_| self.contradiction(format!("a digest has {} bytes", bytes.len())))
    }

    pub(super) fn code<T>(&mut self, what: &str, from: fn(i16) -> Option<T>) -> Result<T> {
        let code: i16 = self.get()?;
        from(code).ok_or_else(|| self.contradiction(format!("no {what} has code {code}")))
    }

    pub(super) fn generation(&mut self) -> Result<Generation> {
        self.code("generation", Generation::from_code)
    }

    pub(super) fn topic_kind(&mut self) -> Result<TopicKind> {
        self.code("kind of topic", TopicKind::from_code)
    }

    pub(super) fn payload_kind(&mut self) -> Result<PayloadKind> {
        self.code("kind of payload", PayloadKind::from_code)
    }

    pub(super) fn verification(&mut self) -> Result<Verification> {
        self.code("verification", Verification::from_code)
    }
}
