//! `status`: sources, queue, projections.

use serde_json::json;

use super::Context;
use crate::reach;

/// Shows how far everything is: sources, queue, log, projections.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let store = reach::migrated_store(&context.config).await?;
    let (head, parked) = (store.head().await?, store.parked_count().await?);
    let (sources, marks) = (store.sources().await?, store.watermarks().await?);
    // A broker that is away is something that a status tells, not a reason to tell nothing.
    let depth = match reach::queue(&context.config).await {
        Ok(queue) => queue.depth().await.map_err(|error| error.to_string()),
        Err(error) => Err(format!("{error:#}")),
    };
    if args.json {
        let value = json!({
            "network": context.config.network,
            "head": head.0,
            "parked": parked,
            "queue": match &depth {
                Ok(depth) => json!({ "depth": depth.ready, "deadLettered": depth.parked }),
                Err(error) => json!({ "error": error }),
            },
            "sources": sources.iter().map(|s| json!({
                "name": s.name, "kind": s.kind, "connected": s.connected, "error": s.error,
                "lastEnvelopeAt": s.last_envelope_at.map(|at| at.to_rfc3339()),
            })).collect::<Vec<_>>(),
            "projections": marks.iter().map(|m| json!({
                "name": m.name, "version": m.version, "position": m.position.0,
                "lag": head.0 - m.position.0, "rebuilding": m.rebuilding,
            })).collect::<Vec<_>>(),
        });
        println!("{value}");
        return Ok(());
    }
    println!("log          {head} envelopes, {parked} parked");
    match depth {
        Ok(depth) => {
            println!("queue        {} pages waiting, {} dead-lettered", depth.ready, depth.parked)
        }
        Err(error) => println!("queue        {error}"),
    }
    for s in &sources {
        let state = if s.connected { "connected" } else { "not connected" };
        let last = s
            .last_envelope_at
            .map_or("never".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string());
        println!("source       {} ({}): {state}, last envelope {last}", s.name, s.kind);
        if let Some(error) = &s.error {
            println!("             {error}");
        }
    }
    for m in &marks {
        let note = if m.rebuilding { ", rebuilding" } else { "" };
        println!(
            "projection   {:<16} version {}, {} behind{note}",
            m.name,
            m.version,
            head.0 - m.position.0
        );
    }
    Ok(())
}
