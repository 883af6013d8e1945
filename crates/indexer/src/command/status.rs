//! `status`: sources, queue, log, projections.

use serde_json::{Value, json};
use store::{Gap, Position, Progress, sources::Source, watermarks::Watermark};

use super::Context;
use crate::{output::say, reach};

/// Shows the state of sources, queue, log and projections.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Shards and gaps of a source that are listed one by one; of more only the number is shown.
const LISTED: usize = 8;

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let store = reach::migrated_store(&context.config).await?;
    let (head, parked) = (store.head().await?, store.parked_count().await?);
    let (sources, marks) = (store.sources().await?, store.watermarks().await?);
    // The status of the rest is of use while the broker is away, too.
    let depth = match reach::queue(&context.config).await {
        Ok(queue) => depth(&queue).await.map_err(|error| error.to_string()),
        Err(error) => Err(format!("{error:#}")),
    };
    if args.json {
        let value = json!({
            "network": reach::network(&context.config)?,
            "head": head.0,
            "parked": parked,
            "queue": match &depth {
                Ok(depth) => json!({ "depth": depth.ready, "deadLettered": depth.parked }),
                Err(error) => json!({ "error": error }),
            },
            "sources": sources.iter().map(source_json).collect::<Vec<_>>(),
            "projections": marks.iter().map(|mark| projection_json(mark, head)).collect::<Vec<_>>(),
        });
        say!("{value}")?;
        return Ok(());
    }
    say!("log          {head} envelopes, {parked} parked")?;
    match depth {
        Ok(depth) => {
            say!("queue        {} pages waiting, {} dead-lettered", depth.ready, depth.parked)?
        }
        Err(error) => say!("queue        {error}")?,
    }
    for source in &sources {
        for line in source_lines(source) {
            say!("{line}")?;
        }
    }
    for mark in &marks {
        say!("{}", projection_line(mark, head))?;
    }
    Ok(())
}

/// The depth of a working queue. A queue without a leader reports a depth, too, so the leader is checked first.
async fn depth(queue: &ingest::Queue) -> ingest::Result<ingest::Depth> {
    queue.check_leader().await?;
    queue.depth().await
}

pub(super) fn source_json(source: &Source) -> Value {
    let progress = source.progress.iter().map(|one| (one.shard.clone(), json!(one.upto)));
    json!({
        "name": source.name,
        "kind": source.kind,
        "connected": source.connected,
        "error": source.error,
        "lastEnvelopeAt": source.last_envelope_at.map(|at| at.to_rfc3339()),
        "progress": progress.collect::<serde_json::Map<_, _>>(),
        "gaps": source.gaps.iter().map(gap_json).collect::<Vec<_>>(),
    })
}

fn gap_json(gap: &Gap) -> Value {
    let time = |ns: u64| i64::try_from(ns).ok().map(|ns| at(ns).to_rfc3339());
    json!({
        "shard": gap.shard,
        "state": gap.state,
        "from": gap.times.and_then(|(from, _)| time(from)),
        "to": gap.times.and_then(|(_, to)| to).and_then(time),
        "sequenceFrom": gap.sequences.map(|(from, _)| from),
        "sequenceTo": gap.sequences.and_then(|(_, to)| to),
        "reason": gap.reason,
    })
}

fn at(ns: i64) -> chrono::DateTime<chrono::Utc> {
    chrono::DateTime::from_timestamp_nanos(ns)
}

/// A gap, in one line.
fn gap_line(gap: &Gap) -> String {
    let Gap { shard, state, reason, .. } = gap;
    let time = |ns: u64| match i64::try_from(ns) {
        Ok(0) => "the beginning".to_owned(),
        Ok(ns) => at(ns).format("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => ns.to_string(),
    };
    let span = |from: String, to: Option<String>| match to {
        Some(to) => format!("from {from} to {to}"),
        None => format!("since {from}"),
    };
    let span = match (gap.times, gap.sequences) {
        (Some((from, to)), _) => span(time(from), to.map(time)),
        (None, Some((from, to))) => span(from.to_string(), to.map(|to| to.to_string())),
        (None, None) => String::new(),
    };
    format!("             gap in {shard}, {}, {span}: {reason}", state.as_str())
}

fn projection_json(mark: &Watermark, head: Position) -> Value {
    json!({
        "name": mark.name,
        "version": mark.version,
        "position": mark.position.0,
        "lag": head.0 - mark.position.0,
        "stale": mark.stale,
        "error": mark.error,
        "rebuild": mark.rebuild.map(|rebuild| json!({
            "version": rebuild.version,
            "position": rebuild.position.0,
            "lag": head.0 - rebuild.position.0,
        })),
    })
}

pub(super) fn source_lines(source: &Source) -> Vec<String> {
    let state = if source.connected { "connected" } else { "not connected" };
    let kind = if source.kind.is_empty() { "no node" } else { &source.kind };
    let last = source
        .last_envelope_at
        .map_or("never".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string());
    let name = &source.name;
    let mut lines = vec![format!("source       {name} ({kind}): {state}, last envelope {last}")];
    match source.progress.len() {
        0 => {}
        1..=LISTED => {
            let shards: Vec<String> = source.progress.iter().map(shard).collect();
            lines.push(format!("             read: {}", shards.join(", ")));
        }
        many => lines.push(format!("             read: {many} shards; --json lists them")),
    }
    lines.extend(source.error.iter().map(|error| format!("             {error}")));
    lines.extend(source.gaps.iter().take(LISTED).map(gap_line));
    if source.gaps.len() > LISTED {
        lines.push(format!(
            "             and {} more gaps; --json lists them",
            source.gaps.len() - LISTED
        ));
    }
    lines
}

/// Shards whose values are nanoseconds since 1970 show a time.
fn shard(progress: &Progress) -> String {
    let Progress { shard, upto } = progress;
    let is_time = shard.ends_with("-until") || shard.ends_with("-since");
    match is_time.then(|| chrono::DateTime::from_timestamp_nanos(*upto)) {
        Some(at) => format!("{shard} {}", at.format("%Y-%m-%d %H:%M:%S")),
        None => format!("{shard} {upto}"),
    }
}

fn projection_line(mark: &Watermark, head: Position) -> String {
    let Watermark { name, version, position, .. } = mark;
    let mut line =
        format!("projection   {name:<16} version {version}, {} behind", head.0 - position.0);
    if mark.stale {
        line.push_str(", stale: older than the rest of an answer");
    }
    if let Some(rebuild) = mark.rebuild {
        let behind = head.0 - rebuild.position.0;
        line.push_str(&format!(
            "; version {} is being built beside it, {behind} behind",
            rebuild.version
        ));
    }
    if let Some(error) = &mark.error {
        line.push_str(&format!("\n             cannot be written: {error}"));
    }
    line
}

#[cfg(test)]
mod tests {
    use store::watermarks::Rebuild;

    use super::*;

    #[test]
    fn a_projection_s_line_says_what_is_wrong_with_it() {
        let mark = Watermark {
            name: "topics".into(),
            version: 3,
            position: Position(90),
            stale: false,
            error: None,
            rebuild: None,
        };
        let head = Position(100);
        assert_eq!(
            projection_line(&mark, head),
            "projection   topics           version 3, 10 behind"
        );
        let wrong = Watermark {
            stale: true,
            error: Some("no space".into()),
            rebuild: Some(Rebuild { version: 4, position: Position(40) }),
            ..mark
        };
        let line = projection_line(&wrong, head);
        for part in ["stale", "version 4 is being built beside it, 60 behind", "\n", "no space"] {
            assert!(line.contains(part), "{line}");
        }
        let json = projection_json(&wrong, head);
        assert_eq!((&json["lag"], &json["rebuild"]["lag"]), (&json!(10), &json!(60)));
    }

    #[test]
    fn progress_is_listed_by_shard() {
        let progress = |shard: &str, upto| Progress { shard: shard.into(), upto };
        let mut source = Source {
            id: 1,
            name: "node".into(),
            kind: "message-api".into(),
            connected: true,
            last_envelope_at: None,
            error: Some("away".into()),
            updated_at: chrono::DateTime::UNIX_EPOCH,
            progress: vec![progress("read-back-to", 7), progress("whole-until", 1_500_000_000)],
            gaps: vec![Gap {
                shard: "stream".into(),
                state: store::GapState::Repairing,
                times: Some((1_500_000_000, None)),
                sequences: None,
                reason: "interrupted".into(),
            }],
        };
        let lines = source_lines(&source);
        assert!(lines[0].contains("node (message-api): connected, last envelope never"));
        assert_eq!(lines[1].trim(), "read: read-back-to 7, whole-until 1970-01-01 00:00:01");
        assert_eq!(lines[2].trim(), "away");
        assert_eq!(
            lines[3].trim(),
            "gap in stream, repairing, since 1970-01-01 00:00:01: interrupted"
        );
        assert_eq!(source_json(&source)["gaps"][0]["state"], "repairing");
        assert_eq!(source_json(&source)["progress"]["read-back-to"], 7);
        source.progress = (0..9).map(|n| progress(&n.to_string(), n)).collect();
        assert!(source_lines(&source)[1].contains("9 shards"));
    }
}
