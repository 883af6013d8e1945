//! Every readable publication of keys on a contact topic. History is kept: which one is current is a question of reading.

use sqlx::PgConnection;
use wire::{Address, BundleForm, ContactBundle, Digest, Payload, Topic};

use crate::{
    error::Result,
    projection::{Entry, Projection},
    time,
    totals::Totals,
};

pub(super) struct ContactBundles;

pub(super) struct Row {
    position: i64,
    account: Address,
    published_ns: i64,
    digest: Digest,
    bundle: ContactBundle,
}

impl Row {
    fn form(&self) -> i16 {
        match self.bundle.form {
            BundleForm::Bare => 0,
            BundleForm::V1 => 1,
            BundleForm::V2 => 2,
        }
    }
}

impl Projection for ContactBundles {
    const NAME: &'static str = "contact_bundles";
    const VERSION: i32 = 1;
    const TABLES: &'static [&'static str] = &["contact_bundles"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        if let (Topic::Contact(account), Some(Payload::ContactBundle(bundle))) =
            (&entry.reading.topic, entry.payload())
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

    async fn write(
        connection: &mut PgConnection,
        rows: Vec<Row>,
        totals: &mut Totals,
    ) -> Result<()> {
        totals.add("contact_bundles", "", i64::try_from(rows.len()).unwrap_or(i64::MAX));
        let accounts: Vec<&[u8]> = rows.iter().map(|r| r.account.as_bytes().as_slice()).collect();
        let signers: Vec<Option<&[u8]>> = rows
            .iter()
            .map(|r| r.bundle.signer.as_ref().map(|a| a.as_bytes().as_slice()))
            .collect();
        let digests: Vec<&[u8]> = rows.iter().map(|r| r.digest.as_bytes().as_slice()).collect();
        let identities: Vec<_> = rows.iter().map(|r| &r.bundle.keys.identity_key).collect();
        let identity_keys: Vec<&[u8]> = identities.iter().map(|key| key.bytes.as_ref()).collect();
        let identity_signatures: Vec<Option<&[u8]>> =
            identities.iter().map(|key| key.signature.as_deref()).collect();
        let pres: Vec<_> = rows.iter().map(|r| r.bundle.keys.pre_key.as_ref()).collect();
        let pre_keys: Vec<Option<&[u8]>> =
            pres.iter().map(|key| key.map(|key| key.bytes.as_ref())).collect();
        let pre_created: Vec<Option<i64>> =
            pres.iter().map(|key| key.map(|key| time::to_db(key.created_ns))).collect();
        let pre_signatures: Vec<Option<&[u8]>> =
            pres.iter().map(|key| key.and_then(|key| key.signature.as_deref())).collect();
        sqlx::query!(
            "insert into contact_bundles
                 (position, account, signer, generation, form, verification, published_ns, digest,
                  identity_key, identity_created_ns, identity_signature, pre_key, pre_created_ns, pre_signature)
             select * from unnest($1::bigint[], $2::bytea[], $3::bytea[], $4::smallint[], $5::smallint[], $6::smallint[],
                                  $7::bigint[], $8::bytea[], $9::bytea[], $10::bigint[], $11::bytea[], $12::bytea[],
                                  $13::bigint[], $14::bytea[])",
            &rows.iter().map(|r| r.position).collect::<Vec<_>>(),
            &accounts as &[&[u8]],
            &signers as &[Option<&[u8]>],
            &rows.iter().map(|r| r.bundle.generation.code()).collect::<Vec<_>>(),
            &rows.iter().map(Row::form).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.bundle.verification.code()).collect::<Vec<_>>(),
            &rows.iter().map(|r| r.published_ns).collect::<Vec<_>>(),
            &digests as &[&[u8]],
            &identity_keys as &[&[u8]],
            &identities.iter().map(|key| time::to_db(key.created_ns)).collect::<Vec<_>>(),
            &identity_signatures as &[Option<&[u8]>],
            &pre_keys as &[Option<&[u8]>],
            &pre_created as &[Option<i64>],
            &pre_signatures as &[Option<&[u8]>]
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn erase(
        connection: &mut PgConnection,
        erased: &[Entry],
        totals: &mut Totals,
    ) -> Result<()> {
        let gone = sqlx::query!(
            "delete from contact_bundles where position = any($1)",
            &erased.iter().map(|entry| entry.logged.position.0).collect::<Vec<_>>()
        )
        .execute(connection)
        .await?;
        totals.add("contact_bundles", "", -i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX));
        Ok(())
    }
}
