//! From columns to values. What the database holds was written by this program, so a value that cannot be is a
//! contradiction, not an accident to be smoothed over.

use tokio_postgres::Row;
use wire::{Address, Digest, Generation, PayloadKind, TopicKind, Verification};

use crate::{
    error::{Error, Result},
    time,
};

fn contradiction(table: &'static str, what: String) -> Error {
    Error::Contradiction { table, what }
}

/// Reads columns one after another.
pub(super) struct Columns<'a> {
    row: &'a Row,
    next: usize,
    table: &'static str,
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a Row, table: &'static str) -> Self {
        Columns { row, next: 0, table }
    }

    pub(super) fn get<T: tokio_postgres::types::FromSql<'a>>(&mut self) -> Result<T> {
        let nth = self.next;
        self.next += 1;
        Ok(self.row.try_get(nth)?)
    }

    pub(super) fn count(&mut self) -> Result<u64> {
        let count: i64 = self.get()?;
        u64::try_from(count).map_err(|_| contradiction(self.table, format!("a count is {count}")))
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
            .map_err(|_| contradiction(self.table, format!("an address has {} bytes", bytes.len())))
    }

    pub(super) fn maybe_address(&mut self) -> Result<Option<Address>> {
        let bytes: Option<&[u8]> = self.get()?;
        bytes
            .map(|bytes| {
                Address::try_from(bytes).map_err(|_| {
                    contradiction(self.table, format!("an address has {} bytes", bytes.len()))
                })
            })
            .transpose()
    }

    pub(super) fn digest(&mut self) -> Result<Digest> {
        let bytes: &[u8] = self.get()?;
        Digest::try_from(bytes)
            .map_err(|_| contradiction(self.table, format!("a digest has {} bytes", bytes.len())))
    }

    fn code<T>(&mut self, what: &str, from: fn(i16) -> Option<T>) -> Result<T> {
        let code: i16 = self.get()?;
        from(code).ok_or_else(|| contradiction(self.table, format!("no {what} has code {code}")))
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

/// Addresses as Postgres compares them.
pub(super) fn bytes(addresses: &[Address]) -> Vec<Vec<u8>> {
    addresses.iter().map(|address| address.as_bytes().to_vec()).collect()
}
