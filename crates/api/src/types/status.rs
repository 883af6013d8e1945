use std::sync::Arc;

use async_graphql::{Context, Description, Object, Result, SimpleObject};
use store::{
    Position,
    read::{self, Key, Tie},
};

use crate::{
    cursor::{self, Place},
    scalars::{DateTime, UInt64},
    scope::{Scope, asked},
};

/// The cursor of a position in the log: it fits every list in the order of indexing.
pub(crate) fn log_cursor(position: Position) -> Option<String> {
    let key = Key { sort: None, tie: Tie::Position(position.0) };
    (position.0 > 0).then(|| cursor::encode(Place::LOG, &key))
}

/// How far the index is.
#[derive(Description)]
pub(crate) struct Status {
    row: read::Status,
    scope: Arc<Scope>,
}

impl Status {
    pub(crate) async fn now(ctx: &Context<'_>) -> Result<Status> {
        let scope = asked(ctx)?.scope.clone();
        let row = scope.told(scope.snapshot().await?.status().await)?;
        Ok(Status { row, scope })
    }
}

#[Object(use_type_description = true)]
impl Status {
    /// The network that is indexed.
    async fn network(&self) -> &str {
        &self.scope.network
    }

    /// The cursor of the newest envelope that a reader may see. It fits every list in the order of indexing.
    async fn head(&self) -> Option<String> {
        log_cursor(self.row.head)
    }

    /// How many envelopes a reader may see.
    async fn envelope_count(&self) -> UInt64 {
        UInt64(u64::try_from(self.row.head.0).unwrap_or(0))
    }

    /// Where envelopes come from, by name.
    async fn sources(&self) -> Vec<SourceStatus> {
        let now = self.scope.now;
        let status = |source: &store::sources::Source| SourceStatus {
            name: source.name.clone(),
            kind: source.kind.clone(),
            connected: source.connected,
            last_envelope_at: source.last_envelope_at.map(DateTime::from),
            lag_seconds: source.last_envelope_at.map(|at| (now - at).as_seconds_f64().max(0.0)),
            error: source.error.clone(),
        };
        self.row.sources.iter().map(status).collect()
    }

    /// The derived tables, by name.
    async fn projections(&self) -> Vec<ProjectionStatus> {
        let log_head = self.row.log_head;
        let status = |mark: &store::watermarks::Watermark| ProjectionStatus {
            name: mark.name.clone(),
            version: mark.version,
            lag: UInt64(u64::try_from(log_head.0 - mark.position.0).unwrap_or(0)),
            rebuilding: mark.rebuilding,
        };
        self.row.projections.iter().map(status).collect()
    }

    /// What waits between the nodes and the log.
    async fn queue(&self) -> QueueStatus {
        let depth = (self.scope.queue)().await;
        QueueStatus {
            answering: depth.is_some(),
            depth: UInt64(depth.map_or(0, |depth| depth.ready)),
            unacknowledged: UInt64(depth.map_or(0, |depth| depth.unacknowledged)),
            parked: UInt64(self.row.parked),
        }
    }
}

/// How one source is doing.
#[derive(SimpleObject)]
struct SourceStatus {
    /// Its name, unique in a deployment.
    name: String,
    /// The kind of node.
    kind: String,
    /// Is a stream open?
    connected: bool,
    /// When the newest envelope came from it.
    last_envelope_at: Option<DateTime>,
    /// How long ago that was.
    lag_seconds: Option<f64>,
    /// What is wrong, in words.
    error: Option<String>,
}

/// How far one derived table is.
#[derive(SimpleObject)]
struct ProjectionStatus {
    /// The table.
    name: String,
    /// The version that builds it. A higher one rebuilds it from the log.
    version: i32,
    /// How many envelopes of the log it has not read.
    lag: UInt64,
    /// Is it reading again what was there before?
    rebuilding: bool,
}

/// What waits between the nodes and the log.
#[derive(SimpleObject)]
struct QueueStatus {
    /// Could the broker be asked? If not, the numbers of messages are 0 and mean nothing.
    answering: bool,
    /// Messages that wait for a worker; one carries many envelopes.
    depth: UInt64,
    /// Messages that a worker holds.
    unacknowledged: UInt64,
    /// Envelopes that could not be stored and are kept aside with the reason.
    parked: UInt64,
}
