//! Numbers of rows that would take long to count. A projection changes them in the transaction that changes its rows.

use std::collections::BTreeMap;

use sqlx::PgConnection;

use crate::error::Result;

/// Changes of the totals of one projection: by name, and by part.
#[derive(Debug, Default)]
pub(crate) struct Totals(BTreeMap<(&'static str, String), i64>);

impl Totals {
    /// Adds rows to a total; negative numbers take away.
    pub(crate) fn add(&mut self, name: &'static str, part: impl ToString, rows: i64) {
        *self.0.entry((name, part.to_string())).or_default() += rows;
    }

    /// Writes the changes down, into the schema that the transaction's search path names.
    pub(crate) async fn write(
        self,
        connection: &mut PgConnection,
        projection: &'static str,
    ) -> Result<()> {
        let changed: Vec<_> = self.0.into_iter().filter(|(_, rows)| *rows != 0).collect();
        if changed.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "insert into totals as t (projection, name, part, rows)
             select $1, * from unnest($2::text[], $3::text[], $4::bigint[])
             on conflict (name, part) do update set rows = t.rows + excluded.rows",
            projection,
            &changed.iter().map(|((name, _), _)| *name).collect::<Vec<_>>() as &[&str],
            &changed.iter().map(|((_, part), _)| part.as_str()).collect::<Vec<_>>() as &[&str],
            &changed.iter().map(|(_, rows)| *rows).collect::<Vec<_>>()
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
