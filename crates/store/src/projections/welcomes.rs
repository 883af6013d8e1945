//! Every readable welcome: for which installation, how sealed, how large. To which group is sealed.

use std::pin::pin;

use deadpool_postgres::Transaction;
use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};
use wire::{Digest, Payload, Welcome};

use super::{Entry, Projection};
use crate::{error::Result, time};

pub(super) struct Welcomes;

pub(super) struct Row {
    position: i64,
    published_ns: i64,
    digest: Digest,
    welcome: Welcome,
}

impl Projection for Welcomes {
    const NAME: &'static str = "welcomes";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["derived.welcomes"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        if let Ok(Payload::Welcome(welcome)) = &entry.reading.payload {
            rows.push(Row {
                position: entry.logged.position.0,
                published_ns: time::to_db(entry.logged.timestamp_ns),
                digest: entry.logged.digest,
                welcome: welcome.clone(),
            });
        }
    }

    async fn write(tx: &Transaction<'_>, rows: Vec<Row>) -> Result<()> {
        let copy = tx
            .prepare_cached(
                "copy derived.welcomes
                     (position, installation, published_ns, digest, wrapper_algorithm, hpke_public_key, is_pointer, size)
                 from stdin (format binary)",
            )
            .await?;
        let types = [
            Type::INT8,
            Type::BYTEA,
            Type::INT8,
            Type::BYTEA,
            Type::INT4,
            Type::BYTEA,
            Type::BOOL,
            Type::INT4,
        ];
        let mut writer = pin!(BinaryCopyInWriter::new(tx.copy_in(&copy).await?, &types));
        for r in &rows {
            writer
                .as_mut()
                .write(&[
                    &r.position,
                    &r.welcome.installation_key.as_slice(),
                    &r.published_ns,
                    &r.digest.as_bytes().as_slice(),
                    &r.welcome.wrapper_algorithm.code(),
                    &r.welcome.hpke_public_key.as_deref(),
                    &r.welcome.is_pointer,
                    &i32::try_from(r.welcome.data_bytes).unwrap_or(i32::MAX),
                ])
                .await?;
        }
        writer.finish().await?;
        Ok(())
    }
}
