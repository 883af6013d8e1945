//! `parked`: envelopes that could not be stored.

use anyhow::bail;
use serde_json::json;
use store::{Store, parked::Parked, parked::Retried};

use super::Context;
use crate::{output::say, reach, waiting::Wait};

/// Lists and shows envelopes that could not be stored, tries them again, or deletes them.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists parked envelopes, oldest first
    List {
        /// At most this many
        #[arg(long, default_value_t = 100)]
        limit: i64,
        /// Those behind this number
        #[arg(long, default_value_t = 0)]
        after: i64,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Shows one, with its bytes
    Show {
        /// Its number
        id: i64,
    },
    /// Tries to store envelopes again. Those that the log takes, or has already, leave the list; the
    /// others stay parked. Ends with 0 when all left the list, with 1 when some stay
    Retry {
        /// Their numbers
        #[arg(required_unless_present = "all")]
        ids: Vec<i64>,
        /// All that are parked
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Deletes envelopes for good
    Drop {
        /// Their numbers
        #[arg(required = true)]
        ids: Vec<i64>,
    },
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let Context { config, shutdown, health } = &context;
    let store = match &args.action {
        Action::Retry { wait, .. } => {
            let connect = || reach::migrated_store(config);
            wait.for_service("PostgreSQL", shutdown, health, connect).await?
        }
        _ => reach::migrated_store(config).await?,
    };
    match args.action {
        Action::List { limit, after, json } => {
            let parked = store.parked_list(after, limit).await?;
            if parked.is_empty() && !json {
                say!("nothing is parked")?;
            }
            for one in &parked {
                match json {
                    true => say!("{}", as_json(one))?,
                    false => say!(
                        "{:>8}  {}  {:>9} bytes  {} tries  {}  {}",
                        one.id,
                        one.parked_at.format("%Y-%m-%d %H:%M:%S"),
                        one.record.envelope.message.len(),
                        one.tries,
                        one.reason,
                        one.record.envelope.topic.escape_ascii()
                    )?,
                }
            }
        }
        Action::Show { id } => match store.parked_get(id).await? {
            Some(one) => say!("{}", as_json(&one))?,
            None => bail!("nothing is parked under {id}; `xmtp-indexer parked list` shows what is"),
        },
        Action::Retry { ids, all, .. } => tokio::select! {
            retried = retry(&store, (!all).then_some(ids)) => retried?,
            () = context.shutdown.requested() => {
                bail!("interrupted; what was stored has left the list, the rest stays parked")
            }
        },
        Action::Drop { ids } => say!("{} deleted", store.parked_drop(&ids).await?)?,
    }
    Ok(())
}

/// How many numbers are read at once when all are retried.
const AT_ONCE: i64 = 10_000;

/// Retries envelopes by their numbers, or all that are parked.
async fn retry(store: &Store, ids: Option<Vec<i64>>) -> anyhow::Result<()> {
    let (mut done, mut asked) = (Retried::default(), 0);
    if let Some(mut ids) = ids {
        ids.sort_unstable();
        ids.dedup();
        asked = u64::try_from(ids.len())?;
        done = store.parked_retry(&ids).await?;
    } else {
        let mut after = 0;
        loop {
            let ids = store.parked_ids(after, AT_ONCE).await?;
            let Some(last) = ids.last() else { break };
            after = *last;
            asked += u64::try_from(ids.len())?;
            done += store.parked_retry(&ids).await?;
        }
    }
    let (text, stay) = outcome(&done, asked);
    say!("{text}")?;
    if stay > 0 {
        bail!("{stay} were not stored; `xmtp-indexer parked list` shows what is parked, and why");
    }
    Ok(())
}

/// Prints what a retry did, and how many of the requested envelopes were not stored.
fn outcome(done: &Retried, asked: u64) -> (String, u64) {
    let settled = done.stored + done.duplicates + done.conflicts;
    let absent = asked.saturating_sub(settled + done.refused);
    let mut parts = vec![
        format!("{} stored", done.stored),
        format!("{} in the log already", done.duplicates),
        format!("{} stay parked", done.refused),
    ];
    if done.conflicts > 0 {
        parts.push(format!(
            "{} kept as conflicts: the log has other bytes under their numbers",
            done.conflicts
        ));
    }
    if absent > 0 {
        parts.push(format!("{absent} not found"));
    }
    (parts.join(", "), done.refused + absent)
}

fn as_json(one: &Parked) -> serde_json::Value {
    let envelope = &one.record.envelope;
    json!({
        "id": one.id,
        "source": one.source,
        "reason": one.reason,
        "parkedAt": one.parked_at.to_rfc3339(),
        "tries": one.tries,
        "lastTriedAt": one.last_tried_at.map(|at| at.to_rfc3339()),
        "topic": envelope.topic.escape_ascii().to_string(),
        "space": one.record.origin.map(|origin| origin.space),
        "sequence": one.record.origin.map(|origin| origin.sequence.to_string()),
        "envelope": serde_json::from_str::<serde_json::Value>(&wire::json::to_line(
            &String::from_utf8_lossy(&envelope.topic),
            envelope.timestamp_ns,
            &envelope.message,
        )).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_fails_when_anything_stays_parked_or_was_not_found() {
        let done = Retried { stored: 2, duplicates: 1, conflicts: 0, refused: 0 };
        let all = "2 stored, 1 in the log already, 0 stay parked".to_owned();
        assert_eq!(outcome(&done, 3), (all, 0));
        let (text, stay) = outcome(&Retried { refused: 4, conflicts: 1, ..done }, 10);
        assert!(text.contains("4 stay parked") && text.contains("1 kept as conflicts"), "{text}");
        assert!(text.contains("2 not found"), "{text}");
        assert_eq!(stay, 6);
    }
}
