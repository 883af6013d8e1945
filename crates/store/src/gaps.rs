//! Spans of sources that may be incomplete.

use sqlx::PgConnection;

use crate::{database::Store, error::Result, time};

/// What is being done about a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum GapState {
    /// Nothing yet.
    Open,
    /// It is being read again.
    Repairing,
    /// The source cannot give what is missing.
    Unrepairable,
}

impl GapState {
    /// Every state.
    pub const ALL: &[Self] = &[Self::Open, Self::Repairing, Self::Unrepairable];

    /// The name in the database, in metrics and in `status`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Repairing => "repairing",
            Self::Unrepairable => "unrepairable",
        }
    }

    /// The state with this name; a name that only a newer program knows counts as open.
    pub(crate) fn of(word: &str) -> Self {
        Self::ALL.iter().copied().find(|state| state.as_str() == word).unwrap_or(Self::Open)
    }
}

/// A span of one shard of a source that may be incomplete.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Gap {
    /// The shard, as the kind of source names it; one gap a shard.
    pub shard: String,
    /// What is being done about it.
    pub state: GapState,
    /// Where it begins and ends by the network's times, in nanoseconds since 1970; without an end, now.
    pub times: Option<(u64, Option<u64>)>,
    /// Where it begins and ends by sequence numbers, both inclusive; without an end, now.
    pub sequences: Option<(u64, Option<u64>)>,
    /// Why, for a person.
    pub reason: String,
}

/// Sequence numbers beyond a bigint do not occur: they are stored as its greatest.
fn stored(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

impl Store {
    /// Records gaps of a source; each takes the place of the one that its shard had.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn report_gaps(&self, source: &str, gaps: &[Gap]) -> Result<()> {
        let ids = self.source_ids([source].into_iter()).await?;
        let Some(id) = ids.get(source) else { return Ok(()) };
        let times = |pick: fn((u64, Option<u64>)) -> Option<u64>| -> Vec<Option<i64>> {
            gaps.iter().map(|gap| gap.times.and_then(pick).map(time::to_db)).collect()
        };
        let numbers = |pick: fn((u64, Option<u64>)) -> Option<u64>| -> Vec<Option<i64>> {
            gaps.iter().map(|gap| gap.sequences.and_then(pick).map(stored)).collect()
        };
        sqlx::query!(
            "insert into ground.gaps (source, shard, state, from_ns, to_ns, sequence_from, sequence_to, reason)
             select $1, * from unnest($2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::text[])
             on conflict (source, shard) do update
                set state = excluded.state, from_ns = excluded.from_ns, to_ns = excluded.to_ns,
                    sequence_from = excluded.sequence_from, sequence_to = excluded.sequence_to,
                    reason = excluded.reason",
            id,
            &gaps.iter().map(|gap| gap.shard.clone()).collect::<Vec<_>>(),
            &gaps.iter().map(|gap| gap.state.as_str().to_owned()).collect::<Vec<_>>(),
            &times(|(from, _)| Some(from)) as &[Option<i64>],
            &times(|(_, to)| to) as &[Option<i64>],
            &numbers(|(from, _)| Some(from)) as &[Option<i64>],
            &numbers(|(_, to)| to) as &[Option<i64>],
            &gaps.iter().map(|gap| gap.reason.clone()).collect::<Vec<_>>()
        )
        .execute(&mut *self.connection().await?)
        .await?;
        Ok(())
    }

    /// All gaps of a source.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn gaps(&self, source: &str) -> Result<Vec<Gap>> {
        let ids = self.source_ids([source].into_iter()).await?;
        let Some(id) = ids.get(source).copied() else { return Ok(Vec::new()) };
        let all = list(&mut *self.connection().await?, Some(id), i64::MAX).await?;
        Ok(all.into_iter().map(|(_, gap)| gap).collect())
    }

    /// Forgets the gaps of these shards: they are closed.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn close_gaps(&self, source: &str, shards: &[String]) -> Result<()> {
        sqlx::query!(
            "delete from ground.gaps g using ground.sources s
              where s.name = $1 and g.source = s.id and g.shard = any($2)",
            source,
            shards
        )
        .execute(&mut *self.connection().await?)
        .await?;
        Ok(())
    }
}

/// Gaps of one source, or of all, with the number of the source. Gaps of single topics come last, of each kind the oldest
/// first.
pub(crate) async fn list(
    connection: &mut PgConnection,
    source: Option<i16>,
    most: i64,
) -> Result<Vec<(i16, Gap)>> {
    let rows = sqlx::query!(
        "select source, shard, state, from_ns, to_ns, sequence_from, sequence_to, reason from ground.gaps
          where $1::smallint is null or source = $1
          order by shard like 'topic %', noticed_at, source, shard limit $2",
        source,
        most
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| {
            let gap = Gap {
                shard: row.shard,
                state: GapState::of(&row.state),
                times: times(row.from_ns, row.to_ns),
                sequences: sequences(row.sequence_from, row.sequence_to),
                reason: row.reason,
            };
            (row.source, gap)
        })
        .collect())
}

/// Stored times as the network's.
pub(crate) fn times(from: Option<i64>, to: Option<i64>) -> Option<(u64, Option<u64>)> {
    from.map(|from| (time::from_db(from), to.map(time::from_db)))
}

/// Stored sequence numbers as the network's.
pub(crate) fn sequences(from: Option<i64>, to: Option<i64>) -> Option<(u64, Option<u64>)> {
    let number = |sequence: i64| u64::try_from(sequence).unwrap_or_default();
    from.map(|from| (number(from), to.map(number)))
}

#[cfg(test)]
mod tests;
