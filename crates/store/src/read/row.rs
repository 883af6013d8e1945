//! From columns to values, and from keys to what Postgres compares. What the database holds was written by this program,
//! so a value that cannot be is a contradiction, not an accident to be smoothed over.

use std::error::Error as StdError;

use bytes::BytesMut;
use tokio_postgres::{
    Row,
    types::{FromSql, IsNull, ToSql, Type, to_sql_checked},
};
use wire::{Address, Digest, Generation, PayloadKind, TopicKind, Verification};

use crate::{
    error::{Error, Result},
    time,
};

/// Reads columns one after another.
pub(super) struct Columns<'a> {
    row: &'a Row,
    next: usize,
    table: &'static str,
}

impl<'a> Columns<'a> {
    /// From the column with this number on.
    pub(super) fn of(row: &'a Row, first: usize) -> Self {
        Columns { row, next: first, table: "a row" }
    }

    /// The next columns are of this table, for those who have to search what contradicts itself.
    pub(super) fn table(&mut self, table: &'static str) {
        self.table = table;
    }

    pub(super) fn get<T: FromSql<'a>>(&mut self) -> Result<T> {
        let nth = self.next;
        self.next += 1;
        Ok(self.row.try_get(nth)?)
    }

    /// Is there nothing in the next column? Never so in the first column of a row, so that it tells whether an outer join
    /// has found one.
    pub(super) fn missing(&self) -> Result<bool> {
        Ok(self.row.try_get::<_, Option<Something>>(self.next)?.is_none())
    }

    /// Over the columns of a row that an outer join has not found.
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

/// A value of any type, not looked at.
struct Something;

impl FromSql<'_> for Something {
    fn from_sql(_: &Type, _: &[u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Something)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A key that rows are found by, as Postgres compares it.
pub(super) trait DbKey: Copy {
    /// What is bound.
    type Db: ToSql + Sync + Send + 'static;
    /// Its type.
    const TYPE: &'static str;
    /// As it is bound.
    fn db(self) -> Self::Db;
}

/// Bytes of a fixed number, without an allocation each.
#[derive(Debug)]
pub(super) struct Octets<const N: usize>([u8; N]);

impl<const N: usize> ToSql for Octets<N> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        self.0.as_slice().to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        <&[u8] as ToSql>::accepts(ty)
    }

    to_sql_checked!();
}

impl DbKey for Address {
    type Db = Octets<20>;
    const TYPE: &'static str = "bytea";

    fn db(self) -> Octets<20> {
        Octets(*self.as_bytes())
    }
}

impl DbKey for Digest {
    type Db = Octets<32>;
    const TYPE: &'static str = "bytea";

    fn db(self) -> Octets<32> {
        Octets(*self.as_bytes())
    }
}

impl DbKey for [u8; 32] {
    type Db = Octets<32>;
    const TYPE: &'static str = "bytea";

    fn db(self) -> Octets<32> {
        Octets(self)
    }
}

impl DbKey for uuid::Uuid {
    type Db = uuid::Uuid;
    const TYPE: &'static str = "uuid";

    fn db(self) -> uuid::Uuid {
        self
    }
}

impl DbKey for crate::log::Position {
    type Db = i64;
    const TYPE: &'static str = "bigint";

    fn db(self) -> i64 {
        self.0
    }
}
