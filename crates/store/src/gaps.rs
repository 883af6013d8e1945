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
        let mut connection = self.connection().await?;
        for gap in gaps {
            let (from, to) = gap.times.unzip();
            let (first, last) = gap.sequences.unzip();
            sqlx::query!(
                "insert into ground.gaps (source, shard, state, from_ns, to_ns, sequence_from, sequence_to, reason)
                 values ($1, $2, $3, $4, $5, $6, $7, $8)
                 on conflict (source, shard) do update
                    set state = excluded.state, from_ns = excluded.from_ns, to_ns = excluded.to_ns,
                        sequence_from = excluded.sequence_from, sequence_to = excluded.sequence_to,
                        reason = excluded.reason",
                id,
                gap.shard,
                gap.state.as_str(),
                from.map(time::to_db),
                to.flatten().map(time::to_db),
                first.map(stored),
                last.flatten().map(stored),
                gap.reason
            )
            .execute(&mut *connection)
            .await?;
        }
        Ok(())
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

/// Gaps of all sources with the number of the source, the oldest first.
pub(crate) async fn list(connection: &mut PgConnection, most: i64) -> Result<Vec<(i16, Gap)>> {
    let rows = sqlx::query!(
        "select source, shard, state, from_ns, to_ns, sequence_from, sequence_to, reason from ground.gaps
          order by noticed_at, source, shard limit $1",
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
