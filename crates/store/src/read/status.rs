//! How far everything is, as of the same moment as the rest of an answer.

use chrono::{DateTime, Utc};

use super::{snapshot::Snapshot, statement::Statement};
use crate::{error::Result, log::Position, sources::Source, watermarks::Watermark};

/// How far everything is.
#[derive(Clone, Debug, Default)]
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
        let mut status = Status::default();
        let rows = self.rows(Statement::new(STATUS, Vec::new())).await?;
        for mut columns in rows.iter() {
            match columns.get::<i32>()? {
                SOURCE => status.sources.push(Source {
                    name: columns.get()?,
                    kind: columns.get()?,
                    cursor: columns.get::<Option<Vec<u8>>>()?.map(Into::into),
                    connected: columns.get()?,
                    last_envelope_at: columns.get::<Option<DateTime<Utc>>>()?,
                    error: columns.get()?,
                    updated_at: columns.get()?,
                }),
                PROJECTION => {
                    let name = columns.get()?;
                    columns.skip(6);
                    status.projections.push(Watermark {
                        name,
                        version: columns.get()?,
                        position: Position(columns.get()?),
                        rebuilding: columns.get()?,
                    });
                }
                _ => {
                    columns.skip(8);
                    status.parked = columns.count()?;
                }
            }
        }
        status.head = self.head();
        status.log_head = self.log_head();
        Ok(status)
    }
}

const SOURCE: i32 = 1;
const PROJECTION: i32 = 2;

/// Three kinds of rows in one statement, so that a glance can ask it: sources, projections, and one with what is parked.
const STATUS: &str = "
    select 1 as what, name, kind, cursor, connected, last_envelope_at, error, updated_at,
           null::integer as version, null::bigint as position, null::boolean as rebuilding
      from ground.sources
     union all
    select 2, name, null, null, null, null, null, null, version, position, position < rebuild_to
      from derived.watermarks
     union all
    select 3, null, null, null, null, null, null, null, null, (select count(*) from ground.parked), null
     order by what, name";
