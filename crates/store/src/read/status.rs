//! How far everything is, as of the same moment as the rest of an answer.

use chrono::{DateTime, Utc};

use super::snapshot::Snapshot;
use crate::{error::Result, log::Position, sources::Source, watermarks::Watermark};

/// How far everything is.
#[derive(Clone, Debug)]
pub struct Status {
    /// Up to where readers see.
    pub head: Position,
    /// The newest envelope in the log.
    pub log_head: Position,
    /// Where envelopes come from, by name.
    pub sources: Vec<Source>,
    /// How far each projection is, by name.
    pub projections: Vec<Watermark>,
    /// How many envelopes could not be stored.
    pub parked: u64,
}

impl Snapshot {
    /// How far everything is.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn status(&self) -> Result<Status> {
        let (sources, projections, parked) = tokio::try_join!(
            self.find(
                "select name, kind, cursor, connected, last_envelope_at, error, updated_at
                   from ground.sources order by name",
                Vec::new(),
                |row| {
                    Ok(Source {
                        name: row.try_get(0)?,
                        kind: row.try_get(1)?,
                        cursor: row.try_get::<_, Option<Vec<u8>>>(2)?.map(Into::into),
                        connected: row.try_get(3)?,
                        last_envelope_at: row.try_get::<_, Option<DateTime<Utc>>>(4)?,
                        error: row.try_get(5)?,
                        updated_at: row.try_get(6)?,
                    })
                },
            ),
            self.find(
                "select name, version, position, position < rebuild_to
                   from derived.watermarks order by name",
                Vec::new(),
                |row| {
                    Ok(Watermark {
                        name: row.try_get(0)?,
                        version: row.try_get(1)?,
                        position: Position(row.try_get(2)?),
                        rebuilding: row.try_get(3)?,
                    })
                },
            ),
            self.find("select count(*) from ground.parked", Vec::new(), |row| {
                Ok(row.try_get::<_, i64>(0)?)
            }),
        )?;
        Ok(Status {
            head: self.head(),
            log_head: self.log_head(),
            sources,
            projections,
            parked: parked.first().map_or(0, |count| u64::try_from(*count).unwrap_or(0)),
        })
    }
}
