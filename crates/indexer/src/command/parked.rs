//! `parked`: what could not be stored.

use anyhow::bail;
use ingest::{Publisher, PublisherOptions};
use serde_json::json;
use store::parked::Parked;

use super::Context;
use crate::reach;

/// Looks at what could not be stored, and tries it again or lets it go.
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
    /// Sends envelopes through the queue again, and forgets them here
    Retry {
        /// Their numbers
        #[arg(required = true)]
        ids: Vec<i64>,
    },
    /// Forgets envelopes for good
    Drop {
        /// Their numbers
        #[arg(required = true)]
        ids: Vec<i64>,
    },
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let store = reach::migrated_store(&context.config).await?;
    match args.action {
        Action::List { limit, after, json } => {
            let parked = store.parked_list(after, limit).await?;
            if parked.is_empty() && !json {
                println!("nothing is parked");
            }
            for one in &parked {
                match json {
                    true => println!("{}", as_json(one)),
                    false => println!(
                        "{:>8}  {}  {:>9} bytes  {}  {}",
                        one.id,
                        one.parked_at.format("%Y-%m-%d %H:%M:%S"),
                        one.envelope.message.len(),
                        one.reason,
                        one.envelope.topic.escape_ascii()
                    ),
                }
            }
        }
        Action::Show { id } => match store.parked_get(id).await? {
            Some(one) => println!("{}", as_json(&one)),
            None => bail!("nothing is parked under {id}; `xmtp-indexer parked list` shows what is"),
        },
        Action::Retry { ids } => retry(&store, &ids, &context).await?,
        Action::Drop { ids } => println!("{} forgotten", store.parked_drop(&ids).await?),
    }
    Ok(())
}

/// Publishes first and forgets afterwards: what happens twice is parked again, or vanishes as a duplicate.
async fn retry(store: &store::Store, ids: &[i64], context: &Context) -> anyhow::Result<()> {
    let queue = reach::queue(&context.config).await?;
    let stop = context.shutdown.token();
    let (publisher, task) =
        Publisher::start(queue, PublisherOptions::default(), stop.child_token());
    let mut sent = 0;
    for &id in ids {
        let Some(one) = store.parked_get(id).await? else { bail!("nothing is parked under {id}") };
        let page = store::Page { source: one.source, cursor: None, envelopes: vec![one.envelope] };
        sent = publisher.send_page(page).await?;
    }
    publisher.confirmed(sent).await?;
    store.parked_drop(ids).await?;
    drop(publisher);
    task.abort();
    println!("{} sent through the queue again", ids.len());
    Ok(())
}

fn as_json(one: &Parked) -> serde_json::Value {
    json!({
        "id": one.id,
        "source": one.source,
        "reason": one.reason,
        "parkedAt": one.parked_at.to_rfc3339(),
        "topic": one.envelope.topic.escape_ascii().to_string(),
        "envelope": serde_json::from_str::<serde_json::Value>(&wire::json::to_line(
            &String::from_utf8_lossy(&one.envelope.topic),
            one.envelope.timestamp_ns,
            &one.envelope.message,
        )).unwrap_or_default(),
    })
}
