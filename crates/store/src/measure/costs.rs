//! What writing costs PostgreSQL, by its own counters: time by table, WAL, disk, and tables that were read from end to end.

use crate::{database::Store, error::Result};

/// Where PostgreSQL's counters stood.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    wal: i64,
    disk: i64,
}

/// What happened since a mark.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    /// Bytes of WAL.
    pub wal_bytes: i64,
    /// Bytes by which the database grew.
    pub disk_bytes: i64,
    /// Milliseconds that statements took, by what they do to which table, dearest first. Empty where the server does
    /// not load `pg_stat_statements`.
    pub by_table: Vec<(String, f64)>,
    /// Tables of more than a thousand rows that a statement read from end to end, and how often.
    pub scanned: Vec<(String, i64)>,
}

impl Store {
    /// Sets the counters back.
    ///
    /// # Errors
    /// When PostgreSQL fails, or these counters are not this user's.
    pub async fn mark_costs(&self) -> Result<Mark> {
        let mut connection = self.own_connection().await?;
        let counts: bool = sqlx::query_scalar(
            "select current_setting('shared_preload_libraries') like '%pg_stat_statements%'",
        )
        .fetch_one(&mut connection)
        .await?;
        if counts {
            sqlx::raw_sql("create extension if not exists pg_stat_statements; select pg_stat_statements_reset()")
                .execute(&mut connection)
                .await?;
        }
        sqlx::raw_sql("select pg_stat_reset()").execute(&mut connection).await?;
        let (wal, disk) = sqlx::query_as(
            "select (pg_current_wal_lsn() - '0/0')::bigint, pg_database_size(current_database())",
        )
        .fetch_one(&mut connection)
        .await?;
        Ok(Mark { wal, disk })
    }

    /// What happened since then.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn costs(&self, since: Mark) -> Result<Costs> {
        let mut connection = self.own_connection().await?;
        let (wal, disk): (i64, i64) = sqlx::query_as(
            "select (pg_current_wal_lsn() - '0/0')::bigint, pg_database_size(current_database())",
        )
        .fetch_one(&mut connection)
        .await?;
        let scanned = sqlx::query_as(
            "select relid::regclass::text, seq_scan from pg_stat_user_tables t join pg_class c on c.oid = t.relid
              where n_live_tup > 1000 and seq_scan > 0 order by 2 desc",
        )
        .fetch_all(&mut connection)
        .await?;
        let counts: bool =
            sqlx::query_scalar("select to_regclass('pg_stat_statements') is not null")
                .fetch_one(&mut connection)
                .await?;
        let by_table = match counts {
            false => Vec::new(),
            true => {
                sqlx::query_as(
                    "select coalesce(m[1] || ' ' || coalesce(m[2], '') || m[3], 'other') as name,
                            sum(total_exec_time + total_plan_time)
                       from pg_stat_statements s join pg_database d on d.oid = s.dbid
                       left join lateral regexp_match(lower(query),
                                '(insert into|update|delete from|copy|join|from)\\s+((?:ground|derived|rebuild)\\.)?([a-z_]+)') m on true
                      where d.datname = current_database() group by 1 order by 2 desc",
                )
                .fetch_all(&mut connection)
                .await?
            }
        };
        Ok(Costs { wal_bytes: wal - since.wal, disk_bytes: disk - since.disk, by_table, scanned })
    }
}
