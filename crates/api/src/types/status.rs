use std::sync::Arc;

use chrono::Utc;
use store::{
    Gap, Position,
    read::{self, Key, SourceStatus as Source, TieBreaker},
    watermarks::Watermark,
};

use crate::{
    cursor::{Cursor, Place, Tag},
    error::Trouble,
    exec::{Call, Statements, Table, object},
    scalars::{DateTime, UInt64},
    scope::QueueDepth,
    types::GapState,
};

/// The cursor of a position in the log: it fits every list in the order of indexing.
pub(crate) fn log_cursor(tag: Tag, position: Position) -> Option<String> {
    let key = Key { sort: None, tie_breaker: TieBreaker::Position(position.0) };
    (position.0 > 0).then(|| Cursor { place: Place::log(tag), key }.encode())
}

/// How far the index is.
#[derive(Clone)]
pub(crate) struct Status {
    row: Arc<read::Status>,
    tag: Tag,
    network: Arc<str>,
    now: chrono::DateTime<Utc>,
}

/// Statements that it takes.
pub(super) const STATEMENTS: Statements = Statements::of(3);

/// The same for everyone who asks.
pub(super) async fn now(call: Call<'_>, askers: usize) -> Result<Vec<Status>, Trouble> {
    let scope = call.scope();
    let tag = scope.tag().await?;
    let row = Arc::new(scope.told(scope.snapshot().await?.status().await)?);
    Ok(vec![Status { row, tag, network: scope.network.clone(), now: scope.now }; askers])
}

object!(
    Status,
    Table::new("Status", "How far the index is.")
        .leaf("network", "The network that is indexed.", |status: &Status| {
            status.network.to_string()
        })
        .leaf(
            "head",
            "The cursor of the newest envelope that a reader may see. It fits every list in the order of indexing.",
            |status| log_cursor(status.tag, status.row.head)
        )
        .leaf("envelopeCount", "How many envelopes a reader may see.", |status| {
            UInt64(status.row.envelopes())
        })
        .inline("sources", "Where envelopes come from, by name.", |status| {
            let source = |source: &Source| SourceStatus { row: source.clone(), now: status.now };
            status.row.sources.iter().map(source).collect::<Vec<_>>()
        })
        .inline("projections", "The derived tables, by name.", |status| {
            let log_head = status.row.log_head;
            let one = |mark: &Watermark| ProjectionStatus { row: mark.clone(), log_head };
            status.row.projections.iter().map(one).collect::<Vec<_>>()
        })
        .leaf("parkedCount", "How many envelopes could not be stored and are kept aside with the reason.", |status| {
            UInt64(status.row.parked)
        })
        .load("queue", "What waits between the nodes and the log.", Statements::of(0), queue)
);

async fn queue(call: Call<'_>, all: &[Status], _: ()) -> Result<Vec<QueueStatus>, Trouble> {
    let depth = (call.scope().queue)().await;
    Ok(all.iter().map(|status| QueueStatus { depth, parked: status.row.parked }).collect())
}

/// How one source is doing.
struct SourceStatus {
    row: Source,
    now: chrono::DateTime<Utc>,
}

object!(
    SourceStatus,
    Table::new("SourceStatus", "How one source is doing.")
        .leaf("name", "Its name, unique in a deployment.", |source: &SourceStatus| {
            source.row.name.clone()
        })
        .leaf("kind", "The kind of node.", |source| source.row.kind.clone())
        .leaf("connected", "Is a stream open?", |source| source.row.connected)
        .leaf("lastEnvelopeAt", "When the newest envelope came from it.", |source| {
            source.row.last_envelope_at.map(DateTime::from)
        })
        .leaf("lagSeconds", "How long ago that was.", |source| {
            let at = source.row.last_envelope_at?;
            Some((source.now - at).as_seconds_f64().max(0.0))
        })
        .leaf("error", "What is wrong, in words.", |source| source.row.error.clone())
        .inline(
            "gaps",
            "Spans that may be incomplete, with what is being done about them; empty when the source is proven complete. \
             At most 1,000 of all sources together.",
            |source| source.row.gaps.iter().cloned().map(GapStatus).collect::<Vec<_>>()
        )
);

/// A span of a source that may be incomplete.
struct GapStatus(Gap);

object!(
    GapStatus,
    Table::new("Gap", "A span of a source that may be incomplete.")
        .leaf("shard", "The part of the source that it concerns.", |gap: &GapStatus| {
            gap.0.shard.clone()
        })
        .leaf("state", "What is being done about it.", |gap| GapState::from(gap.0.state))
        .leaf(
            "from",
            "Where it begins by the network's times; null where it is not of times.",
            |gap| { gap.0.times.map(|(from, _)| DateTime(from)) }
        )
        .leaf("to", "Where it ends by the network's times; null where it reaches to now.", |gap| {
            gap.0.times.and_then(|(_, to)| to).map(DateTime)
        })
        .leaf(
            "sequenceFrom",
            "The first sequence number; null where it is not of numbers.",
            |gap| { gap.0.sequences.map(|(from, _)| UInt64(from)) }
        )
        .leaf(
            "sequenceTo",
            "The last sequence number; null where it reaches to the newest.",
            |gap| { gap.0.sequences.and_then(|(_, to)| to).map(UInt64) }
        )
        .leaf("reason", "Why, in words.", |gap| gap.0.reason.clone())
);

/// How far one derived table is.
struct ProjectionStatus {
    row: Watermark,
    log_head: Position,
}

object!(
    ProjectionStatus,
    Table::new("ProjectionStatus", "How far one derived table is.")
        .leaf("name", "The table.", |one: &ProjectionStatus| one.row.name.clone())
        .leaf(
            "version",
            "The version that builds it. A higher one rebuilds it from the log.",
            |one| one.row.version
        )
        .leaf("lag", "How many envelopes of the log it has not read.", |one| {
            UInt64(u64::try_from(one.log_head.0 - one.row.position.0).unwrap_or(0))
        })
        .leaf(
            "rebuilding",
            "Is the table being built again from the log? That happens beside the table that is served, and takes its place \
             when it is complete.",
            |one| one.row.rebuild.is_some()
        )
        .leaf(
            "stale",
            "Does it stand behind the head that answers speak of? Rows of this table are then missing or older than the rest.",
            |one| one.row.stale
        )
        .leaf(
            "error",
            "What keeps it from being written, in words; null while nothing does. `xmtp-indexer status` says more.",
            // What PostgreSQL said is for operators.
            |one| one.row.error.as_ref().map(|_| "its rows cannot be written".to_owned())
        )
);

/// What waits between the nodes and the log.
struct QueueStatus {
    depth: Option<QueueDepth>,
    parked: u64,
}

object!(
    QueueStatus,
    Table::new("QueueStatus", "What waits between the nodes and the log.")
        .leaf(
            "answering",
            "Could the broker be asked? If not, the numbers of messages are 0 and mean nothing.",
            |queue: &QueueStatus| queue.depth.is_some()
        )
        .leaf("depth", "Messages that wait for a worker; one carries many envelopes.", |queue| {
            UInt64(queue.depth.map_or(0, |depth| depth.ready))
        })
        .leaf("unacknowledged", "Messages that a worker holds.", |queue| {
            UInt64(queue.depth.map_or(0, |depth| depth.unacknowledged))
        })
        .leaf(
            "parked",
            "Envelopes that could not be stored and are kept aside with the reason.",
            |queue| UInt64(queue.parked)
        )
);
