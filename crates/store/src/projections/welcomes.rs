//! Every readable welcome: for which installation, how sealed, how large. To which group is sealed.

use sqlx::PgConnection;
use wire::{Digest, Payload, Welcome};

use crate::{
    error::Result,
    projection::{Entry, Projection},
    time,
    totals::Totals,
};

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
    const TABLES: &'static [&'static str] = &["welcomes"];
    type Row = Row;

    fn derive(entry: &Entry, rows: &mut Vec<Row>) {
        if let Some(Payload::Welcome(welcome)) = entry.payload() {
            rows.push(Row {
                position: entry.logged.position.0,
                published_ns: time::to_db(entry.logged.timestamp_ns),
                digest: entry.logged.digest,
                welcome: welcome.clone(),
            });
        }
    }

    async fn write(
        connection: &mut PgConnection,
        rows: Vec<Row>,
        totals: &mut Totals,
    ) -> Result<()> {
        totals.add("welcomes", "", i64::try_from(rows.len()).unwrap_or(i64::MAX));
        let installations: Vec<&[u8]> =
            rows.iter().map(|r| r.welcome.installation_key.as_slice()).collect();
        let digests: Vec<&[u8]> = rows.iter().map(|r| r.digest.as_bytes().as_slice()).collect();
        let keys: Vec<Option<&[u8]>> =
            rows.iter().map(|r| r.welcome.hpke_public_key.as_deref()).collect();
        let size = |r: &Row| i32::try_from(r.welcome.data_bytes).unwrap_or(i32::MAX);
        sqlx::query!(
            "insert into welcomes
                 (position, installation, published_ns, digest, wrapper_algorithm, hpke_public_key, is_pointer, size)
             select * from unnest($1::bigint[], $2::bytea[], $3::bigint[], $4::bytea[], $5::integer[], $6::bytea[],
                                  $7::boolean[], $8::integer[])",
            &rows.iter().map(|r| r.position).collect::<Vec<_>>(),
            &installations as &[&[u8]],
            &rows.iter().map(|r| r.published_ns).collect::<Vec<_>>(),
            &digests as &[&[u8]],
            &rows.iter().map(|r| r.welcome.wrapper_algorithm.code()).collect::<Vec<_>>(),
            &keys as &[Option<&[u8]>],
            &rows.iter().map(|r| r.welcome.is_pointer).collect::<Vec<_>>(),
            &rows.iter().map(size).collect::<Vec<_>>()
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
            "delete from welcomes where position = any($1)",
            &erased.iter().map(|entry| entry.logged.position.0).collect::<Vec<_>>()
        )
        .execute(connection)
        .await?;
        totals.add("welcomes", "", -i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX));
        Ok(())
    }
}
