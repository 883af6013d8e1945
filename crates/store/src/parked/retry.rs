//! Trying parked envelopes again.

use std::collections::HashMap;

use sqlx::{Acquire as _, PgConnection};

use super::{Parked, Row, delete};
use crate::{
    append::{Appended, Page, append_in, is_partition_missing},
    database::Store,
    error::{Class, Error, Result},
};

/// What a retry did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retried {
    /// Envelopes that are new in the log.
    pub stored: u64,
    /// Envelopes that the log had already.
    pub duplicates: u64,
    /// Envelopes whose number has other bytes in the log: they are kept in `ground.conflicts`.
    pub conflicts: u64,
    /// Envelopes that the log still refuses: they stay parked.
    pub refused: u64,
}

impl std::ops::AddAssign for Retried {
    fn add_assign(&mut self, other: Retried) {
        self.stored += other.stored;
        self.duplicates += other.duplicates;
        self.conflicts += other.conflicts;
        self.refused += other.refused;
    }
}

/// Envelopes that are tried in one transaction.
const BATCH: usize = 1_000;
/// Message bytes of one transaction; a larger envelope has a transaction of its own.
const BATCH_BYTES: i64 = 16 << 20;

/// Rows with the names of their sources, in the numbers that fit into one transaction.
struct Plan {
    batches: Vec<Vec<i64>>,
    sources: HashMap<String, i16>,
}

impl Store {
    /// Tries to append parked envelopes to the log. Those that the log takes, or has already, leave `ground.parked` in the
    /// transaction that appends them; the others stay, with one more try and the current reason.
    ///
    /// # Errors
    /// When PostgreSQL fails. Transactions that were committed before stay.
    pub async fn parked_retry(&self, ids: &[i64]) -> Result<Retried> {
        let plan = self.plan_retry(ids).await?;
        let mut retried = Retried::default();
        for batch in plan.batches {
            retried += match self.retry_batch(&batch, &plan.sources).await {
                Err(error) if is_partition_missing(&error) => {
                    self.extend_partitions().await?;
                    self.retry_batch(&batch, &plan.sources).await?
                }
                one => one?,
            };
        }
        Ok(retried)
    }

    async fn plan_retry(&self, ids: &[i64]) -> Result<Plan> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query!(
            r#"select id, source, topic <> '' as "has_topic!", octet_length(message) as "bytes!"
                 from ground.parked where id = any($1) order by id"#,
            ids,
        )
        .fetch_all(&mut *connection)
        .await?;
        drop(connection);
        // A queue message that is no page has no topic: its source is no source of the log, and gets no number.
        let named = rows.iter().filter(|row| row.has_topic).map(|row| row.source.as_str());
        let sources = self.source_ids(named).await?;
        let (mut batches, mut bytes) = (vec![Vec::new()], 0_i64);
        for row in &rows {
            let size = i64::from(row.bytes);
            let full = batches.last().is_some_and(|batch| {
                !batch.is_empty() && (batch.len() >= BATCH || bytes + size > BATCH_BYTES)
            });
            if full {
                batches.push(Vec::new());
                bytes = 0;
            }
            bytes += size;
            if let Some(batch) = batches.last_mut() {
                batch.push(row.id);
            }
        }
        Ok(Plan { batches, sources })
    }

    async fn retry_batch(&self, ids: &[i64], sources: &HashMap<String, i16>) -> Result<Retried> {
        let mut tx = self.begin().await?;
        // In the order in which an append locks: parked rows, their count, the head.
        let rows = sqlx::query_as!(
            Row,
            "select id, source, reason, topic, timestamp_ns, space, sequence, message, parked_at, tries, last_tried_at
               from ground.parked where id = any($1) order by id for update",
            ids,
        )
        .fetch_all(&mut *tx)
        .await?;
        sqlx::query!("select rows from ground.counts where name = 'parked' for update")
            .fetch_one(&mut *tx)
            .await?;
        let tried = try_all(&mut tx, rows.into_iter().map(Parked::from).collect(), sources).await?;
        delete(&mut tx, &tried.gone).await?;
        let (staying, reasons): (Vec<i64>, Vec<Option<String>>) = tried.refused.into_iter().unzip();
        sqlx::query!(
            "update ground.parked p
                set tries = p.tries + 1, last_tried_at = now(), reason = coalesce(t.reason, p.reason)
               from unnest($1::bigint[], $2::text[]) as t (id, reason)
              where p.id = t.id",
            &staying,
            &reasons as &[Option<String>],
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(Retried { refused: u64::try_from(staying.len()).unwrap_or(u64::MAX), ..tried.done })
    }
}

#[derive(Default)]
struct Tried {
    done: Retried,
    /// Rows whose envelopes the log has now.
    gone: Vec<i64>,
    /// Rows that stay, with the reason where there is a new one.
    refused: Vec<(i64, Option<String>)>,
}

/// Appends what can be appended. When PostgreSQL itself refuses a value, halves are tried until the one envelope is found.
async fn try_all(
    connection: &mut PgConnection,
    parked: Vec<Parked>,
    sources: &HashMap<String, i16>,
) -> Result<Tried> {
    let mut tried = Tried::default();
    // The reason of a row without a topic is more specific than that it has none.
    let (parked, bodies): (Vec<_>, Vec<_>) =
        parked.into_iter().partition(|one| !one.record.envelope.topic.is_empty());
    tried.refused.extend(bodies.into_iter().map(|one| (one.id, None)));
    let mut work = vec![parked];
    while let Some(mut parked) = work.pop() {
        if parked.is_empty() {
            continue;
        }
        match try_some(connection, &parked, sources).await {
            Ok((appended, refused)) => {
                tried.done.stored += appended.fresh;
                tried.done.duplicates += appended.duplicates;
                tried.done.conflicts += appended.conflicts;
                let mut refused: HashMap<usize, String> = refused.into_iter().collect();
                for (index, one) in parked.iter().enumerate() {
                    match refused.remove(&index) {
                        Some(reason) => tried.refused.push((one.id, Some(reason))),
                        None => tried.gone.push(one.id),
                    }
                }
            }
            Err(error) if error.class() == Class::Data => match parked.len() {
                1 => {
                    tried.refused.extend(parked.pop().map(|one| (one.id, Some(error.to_string()))))
                }
                several => {
                    let second = parked.split_off(several / 2);
                    work.extend([second, parked]);
                }
            },
            Err(error) => return Err(error),
        }
    }
    Ok(tried)
}

/// Appends all of these or nothing: a savepoint keeps the transaction usable when PostgreSQL refuses.
async fn try_some(
    connection: &mut PgConnection,
    parked: &[Parked],
    sources: &HashMap<String, i16>,
) -> Result<(Appended, Vec<(usize, String)>)> {
    // One page each keeps their order, and so the indexes of those that are refused.
    let pages: Vec<Page> = parked
        .iter()
        .map(|one| Page {
            source: one.source.clone(),
            progress: Vec::new(),
            records: vec![one.record.clone()],
        })
        .collect();
    let mut savepoint = connection.begin().await.map_err(Error::from)?;
    match append_in(&mut savepoint, &pages, sources).await {
        Ok(done) => {
            savepoint.commit().await?;
            Ok(done)
        }
        Err(error) => {
            savepoint.rollback().await?;
            Err(error)
        }
    }
}
