//! How far everything is, in the same snapshot as the rest of an answer.

use chrono::{DateTime, Utc};

use super::{row::Columns, snapshot::Snapshot, statement::Statement};
use crate::{
    error::Result,
    gaps::{self, Gap, GapState},
    log::Position,
    watermarks::{Rebuild, Watermark},
};

/// How far everything is.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The served head.
    pub head: Position,
    /// The position of the newest envelope in the log.
    pub log_head: Position,
    /// The sources of envelopes, by name.
    pub sources: Vec<SourceStatus>,
    /// The projections, by name.
    pub projections: Vec<Watermark>,
    /// The number of envelopes that the log could not take.
    pub parked: u64,
}

/// How one source is doing. Its progress is of no use to readers, and may have many parts.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    /// Its name, unique in a deployment.
    pub name: String,
    /// The kind of node.
    pub kind: String,
    /// Is a stream open?
    pub connected: bool,
    /// When the newest envelope came from it.
    pub last_envelope_at: Option<DateTime<Utc>>,
    /// The error, for operators.
    pub error: Option<String>,
    /// Spans that may be incomplete, the oldest first; at most 1,000 of all sources together.
    pub gaps: Vec<Gap>,
}

impl Status {
    /// The number of envelopes that are served.
    #[must_use]
    pub fn envelopes(&self) -> u64 {
        let one = self.projections.iter().find(|one| one.name == "envelopes");
        // Positions are dense.
        one.map_or(0, |one| u64::try_from(one.position.0).unwrap_or(0))
    }
}

fn source(columns: &mut Columns<'_>) -> Result<SourceStatus> {
    Ok(SourceStatus {
        name: columns.get()?,
        error: columns.get()?,
        kind: columns.get()?,
        connected: columns.get()?,
        last_envelope_at: columns.get()?,
        gaps: Vec::new(),
    })
}

fn gap(columns: &mut Columns<'_>) -> Result<(String, Gap)> {
    let source = columns.get()?;
    let (reason, shard) = (columns.get()?, columns.get()?);
    columns.skip(3);
    let from = columns.get()?;
    columns.skip(2);
    let times = gaps::times(from, columns.get()?);
    let state = GapState::of(&columns.get::<String>()?);
    let sequences = gaps::sequences(columns.get()?, columns.get()?);
    Ok((source, Gap { shard, state, times, sequences, reason }))
}

fn projection(columns: &mut Columns<'_>) -> Result<Watermark> {
    let (name, error) = (columns.get()?, columns.get()?);
    columns.skip(3);
    Ok(Watermark {
        name,
        error,
        version: columns.get()?,
        position: Position(columns.get()?),
        stale: columns.get()?,
        rebuild: match (columns.get::<Option<i32>>()?, columns.get::<Option<i64>>()?) {
            (Some(version), Some(position)) => {
                Some(Rebuild { version, position: Position(position) })
            }
            _ => None,
        },
    })
}

impl Snapshot {
    /// How far everything is.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn status(&self) -> Result<Status> {
        let mut status = Status::default();
        let rows = self.rows(Statement::new(STATUS, Vec::new())).await?;
        for mut columns in rows.iter() {
            match columns.get::<i32>()? {
                SOURCE => status.sources.push(source(&mut columns)?),
                PROJECTION => status.projections.push(projection(&mut columns)?),
                PARKED => {
                    columns.skip(6);
                    status.parked = columns.count()?;
                }
                // After the sources, by the order of the statement.
                _ => {
                    let (source, gap) = gap(&mut columns)?;
                    let source = status.sources.iter_mut().find(|known| known.name == source);
                    source.into_iter().for_each(|source| source.gaps.push(gap.clone()));
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
const PARKED: i32 = 3;

/// Four kinds of rows, so that one statement is enough: sources, projections, one row with the number of parked envelopes, and
/// the gaps of sources.
const STATUS: &str = "
    select 1 as what, name, error, kind, connected and updated_at > now() - interval '30 seconds', last_envelope_at as at,
           null::integer as version, null::bigint as position, null::boolean as stale,
           null::integer as building, null::bigint as built, null as state, null::bigint as first, null::bigint as last
      from ground.sources where forgotten_at is null
     union all
    select 2, name, w.error, null, null, null, w.version, w.position, name = any(served.stale), r.version, r.position,
           null, null, null
      from derived.watermarks w left join derived.rebuilds r using (name) cross join derived.served
     union all
    select 3, null, null, null, null, null, null, rows, null, null, null, null, null, null
      from ground.counts where name = 'parked'
     union all
    (select 4, s.name, g.reason, g.shard, null, g.noticed_at, null, g.from_ns, null, null, g.to_ns,
            g.state, g.sequence_from, g.sequence_to
       from ground.gaps g join ground.sources s on s.id = g.source
      order by g.shard like 'topic %', g.noticed_at, g.source, g.shard limit 1000)
     order by what, name, at";
