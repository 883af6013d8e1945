//! The scalars of the schema: how bytes, times and large numbers are spelled.

mod address;
mod base64;
mod date_time;
mod hex;
mod uint64;

pub(crate) use address::Address;
pub(crate) use base64::Base64;
pub(crate) use date_time::DateTime;
pub(crate) use hex::Hex;
pub(crate) use uint64::UInt64;
