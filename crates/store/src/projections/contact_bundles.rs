//! Every readable publication of keys on a contact topic. History is kept: which one is current is a question of reading.

use std::pin::pin;

use deadpool_postgres::Transaction;
use tokio_postgres::{binary_copy::BinaryCopyInWriter, types::Type};
use wire::{Address, BundleForm, ContactBundle, Digest, Payload, Topic};

use super::{Entry, Projection};
use crate::{error::Result, time};

pub(super) struct ContactBundles;

pub(super) struct Row {
    position: i64,
    account: Address,
    published_ns: i64,
    digest: Digest,
    bundle: ContactBundle,
}

impl Projection for ContactBundles {
    const NAME: &'static str = "contact_bundles";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["derived.contact_bundles"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        if let (Topic::Contact(account), Ok(Payload::ContactBundle(bundle))) =
            (&entry.reading.topic, &entry.reading.payload)
        {
            rows.push(Row {
                position: entry.logged.position.0,
                account: *account,
                published_ns: time::to_db(entry.logged.timestamp_ns),
                digest: entry.logged.digest,
                bundle: (**bundle).clone(),
            });
        }
    }

    async fn write(tx: &Transaction<'_>, rows: Vec<Row>) -> Result<()> {
        let copy = tx
            .prepare_cached(
                "copy derived.contact_bundles
                     (position, account, signer, generation, form, verification, published_ns, digest,
                      identity_key, identity_created_ns, identity_signature, pre_key, pre_created_ns, pre_signature)
                 from stdin (format binary)",
            )
            .await?;
        let types = [
            Type::INT8,
            Type::BYTEA,
            Type::BYTEA,
            Type::INT2,
            Type::INT2,
            Type::INT2,
            Type::INT8,
            Type::BYTEA,
            Type::BYTEA,
            Type::INT8,
            Type::BYTEA,
            Type::BYTEA,
            Type::INT8,
            Type::BYTEA,
        ];
        let mut writer = pin!(BinaryCopyInWriter::new(tx.copy_in(&copy).await?, &types));
        for r in &rows {
            let (identity, pre) = (&r.bundle.keys.identity_key, r.bundle.keys.pre_key.as_ref());
            let form: i16 = match r.bundle.form {
                BundleForm::Bare => 0,
                BundleForm::V1 => 1,
                BundleForm::V2 => 2,
            };
            writer
                .as_mut()
                .write(&[
                    &r.position,
                    &r.account.as_bytes().as_slice(),
                    &r.bundle.signer.as_ref().map(|a| a.as_bytes().as_slice()),
                    &r.bundle.generation.code(),
                    &form,
                    &r.bundle.verification.code(),
                    &r.published_ns,
                    &r.digest.as_bytes().as_slice(),
                    &identity.bytes.as_ref(),
                    &time::to_db(identity.created_ns),
                    &identity.signature.as_deref(),
                    &pre.map(|key| key.bytes.as_ref()),
                    &pre.map(|key| time::to_db(key.created_ns)),
                    &pre.and_then(|key| key.signature.as_deref()),
                ])
                .await?;
        }
        writer.finish().await?;
        Ok(())
    }
}
