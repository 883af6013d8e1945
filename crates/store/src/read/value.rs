//! Values of statements, as PostgreSQL compares them.

use sqlx::{Arguments as _, error::BoxDynError, postgres::PgArguments};
use uuid::Uuid;
use wire::{Address, Digest};

use crate::log::Position;

/// A value of a statement.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Bool(bool),
    I16(i16),
    I32(i32),
    I64(i64),
    Uuid(Uuid),
    Text(String),
    Bytes(Vec<u8>),
    // Of fixed lengths, so that keys need no allocation each.
    Bytes20([u8; 20]),
    Bytes32([u8; 32]),
    I16s(Vec<i16>),
    I64s(Vec<i64>),
    Uuids(Vec<Uuid>),
    Bytes20s(Vec<[u8; 20]>),
    Bytes32s(Vec<[u8; 32]>),
}

impl Value {
    /// Encodes it as the next value of a statement.
    pub(super) fn encode(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        match self {
            Value::Bool(value) => arguments.add(value),
            Value::I16(value) => arguments.add(value),
            Value::I32(value) => arguments.add(value),
            Value::I64(value) => arguments.add(value),
            Value::Uuid(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
            Value::Bytes20(value) => arguments.add(value.as_slice()),
            Value::Bytes32(value) => arguments.add(value.as_slice()),
            Value::I16s(values) => arguments.add(values),
            Value::I64s(values) => arguments.add(values),
            Value::Uuids(values) => arguments.add(values),
            Value::Bytes20s(values) => arguments.add(values),
            Value::Bytes32s(values) => arguments.add(values),
        }
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),+ $(,)?) => { $(
        impl From<$type> for Value {
            fn from(value: $type) -> Value {
                Value::$variant(value)
            }
        }
    )+ };
}

from! {
    bool => Bool,
    i16 => I16,
    i32 => I32,
    i64 => I64,
    Uuid => Uuid,
    String => Text,
    Vec<u8> => Bytes,
    [u8; 32] => Bytes32,
    Vec<i16> => I16s,
    Vec<i64> => I64s,
    Vec<Uuid> => Uuids,
    Vec<[u8; 20]> => Bytes20s,
}

impl From<Address> for Value {
    fn from(address: Address) -> Value {
        Value::Bytes20(*address.as_bytes())
    }
}

impl From<Digest> for Value {
    fn from(digest: Digest) -> Value {
        Value::Bytes32(*digest.as_bytes())
    }
}

impl From<Position> for Value {
    fn from(position: Position) -> Value {
        Value::I64(position.0)
    }
}

/// A key that rows are found by.
pub(super) trait DbKey: Copy + Into<Value> {
    /// Its type in PostgreSQL.
    const TYPE: &'static str;
    /// An array of keys.
    fn array(keys: &[Self]) -> Value;
}

impl DbKey for Address {
    const TYPE: &'static str = "bytea";

    fn array(keys: &[Address]) -> Value {
        Value::Bytes20s(keys.iter().map(|key| *key.as_bytes()).collect())
    }
}

impl DbKey for Digest {
    const TYPE: &'static str = "bytea";

    fn array(keys: &[Digest]) -> Value {
        Value::Bytes32s(keys.iter().map(|key| *key.as_bytes()).collect())
    }
}

impl DbKey for [u8; 32] {
    const TYPE: &'static str = "bytea";

    fn array(keys: &[[u8; 32]]) -> Value {
        Value::Bytes32s(keys.to_vec())
    }
}

impl DbKey for Uuid {
    const TYPE: &'static str = "uuid";

    fn array(keys: &[Uuid]) -> Value {
        Value::Uuids(keys.to_vec())
    }
}

impl DbKey for Position {
    const TYPE: &'static str = "bigint";

    fn array(keys: &[Position]) -> Value {
        Value::I64s(keys.iter().map(|key| key.0).collect())
    }
}
