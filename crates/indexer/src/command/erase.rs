//! `erase`: takes the messages of a topic or an account out of the database.

use std::time::{Duration, Instant};

use anyhow::bail;
use serde_json::json;
use store::{
    Store,
    erase::{Erased, Scope},
};
use wire::Address;

use super::Context;
use crate::{
    output::{self, note, say},
    reach,
    shutdown::Shutdown,
};

/// How long projections may make no progress behind the log before the command fails.
const STALLED: Duration = Duration::from_secs(10);

/// Erases the messages of a topic or an account: from the log, and from every table derived from it.
///
/// Names of topics, times, sizes and kinds stay, with everything that was counted from them: PRIVACY.md
/// has the list. This cannot be undone; --dry-run shows what it would erase. Erasing again is harmless.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    what: What,
    /// Counts what would be erased, and changes nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Everything on the topic of this name
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// Everything on topics that name this wallet, and every copy of invitations and messages from and to it
    #[arg(long, value_name = "ADDRESS")]
    account: Option<Address>,
}

impl What {
    /// The scope, and its description.
    fn scope(self) -> Option<(Scope, String)> {
        match (self.topic, self.account) {
            (Some(topic), _) => Some((Scope::Topic(topic.clone()), format!("the topic {topic}"))),
            (None, Some(account)) => {
                Some((Scope::Account(account), format!("the account {account}")))
            }
            (None, None) => None,
        }
    }
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let Some((scope, words)) = args.what.scope() else { bail!("name a topic or an account") };
    let store = reach::migrated_store(&context.config).await?;
    wait_for_projections(&store, &context.shutdown).await?;
    let erased = tokio::select! {
        erased = store.erase(&scope, args.dry_run) => erased?,
        () = context.shutdown.requested() => {
            bail!("interrupted; what is erased already stays erased: run the command again to erase the rest")
        }
    };
    match args.json {
        true => say!("{}", as_json(&erased, args.dry_run))?,
        false => output::print(format_args!("{}", report(&erased, &words, args.dry_run)))?,
    }
    Ok(())
}

/// Waits until projections have reached the current head of the log. Envelopes are found through the derived tables, so one
/// that a projection has not read yet would not be erased.
async fn wait_for_projections(store: &Store, shutdown: &Shutdown) -> anyhow::Result<()> {
    let head = store.head().await?;
    let (mut seen, mut since) = (-1, Instant::now());
    loop {
        let marks = store.watermarks().await?;
        let slowest = marks.iter().min_by_key(|mark| mark.position);
        let reached = slowest.map(|mark| mark.position).unwrap_or_default();
        if reached >= head {
            return Ok(());
        }
        // A projection that is being built moves, too.
        let moved = marks
            .iter()
            .map(|mark| mark.position.0 + mark.rebuild.map_or(0, |rebuild| rebuild.position.0));
        let moved: i64 = moved.sum();
        if moved != seen {
            if seen < 0 {
                note!("waiting until projections have read the log up to position {head}");
            }
            (seen, since) = (moved, Instant::now());
        } else if since.elapsed() > STALLED {
            let name = slowest.map_or("every projection", |mark| &mark.name);
            let why = slowest.and_then(|mark| mark.error.as_deref());
            let why = why.map(|error| format!(" ({error})")).unwrap_or_default();
            bail!(
                "{name} is at position {reached} of {head}{why}, and envelopes that it has not read cannot be found: \
                 run `xmtp-indexer up` or `xmtp-indexer project` until it has caught up, then erase"
            );
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            () = shutdown.requested() => bail!("interrupted; nothing was erased"),
        }
    }
}

fn report(erased: &Erased, of: &str, dry_run: bool) -> String {
    if erased.envelopes == 0 {
        return format!(
            "nothing to erase: the log has no envelopes of {of}, or their messages are erased already\n"
        );
    }
    let did = if dry_run { "would erase" } else { "erased" };
    let known = erased.contact_bundles + erased.invites + erased.messages + erased.welcomes;
    let mut text = format!(
        "{did} the messages of {} envelopes of {of}, {} bytes:\n",
        erased.envelopes, erased.bytes
    );
    for (count, what) in [
        (erased.contact_bundles, "contact bundles"),
        (erased.invites, "invitations"),
        (erased.messages, "V1 and V2 messages"),
        (erased.welcomes, "welcomes"),
        (erased.envelopes.saturating_sub(known), "others"),
    ] {
        if count > 0 {
            text.push_str(&format!("{count:>12}  {what}\n"));
        }
    }
    if dry_run {
        text.push_str("This was a dry run: nothing was changed.\n");
        return text;
    }
    text.push_str(
        "What stays of each: its topic's name, its times, its size, its kind, a hash of it, the wallets that it named, and\n\
         what was counted from these. A node that sends a copy again does not bring it back; new envelopes are stored as\n\
         before. Backups, archives of the write-ahead log and exports are not reached: they keep the bytes until you\n\
         delete them. PRIVACY.md says more.\n",
    );
    text
}

fn as_json(erased: &Erased, dry_run: bool) -> serde_json::Value {
    json!({
        "dryRun": dry_run,
        "envelopes": erased.envelopes,
        "bytes": erased.bytes,
        "contactBundles": erased.contact_bundles,
        "invites": erased.invites,
        "messages": erased.messages,
        "welcomes": erased.welcomes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_went_and_what_stays() {
        let erased =
            Erased { envelopes: 12, bytes: 3_400, messages: 7, invites: 2, ..Erased::default() };
        let text = report(&erased, "the topic /t", false);
        assert!(
            text.starts_with("erased the messages of 12 envelopes of the topic /t, 3400 bytes")
        );
        for part in
            ["7  V1 and V2 messages", "2  invitations", "3  others", "What stays", "Backups"]
        {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("welcomes"), "{text}");
        let text = report(&erased, "the topic /t", true);
        assert!(text.starts_with("would erase") && text.contains("nothing was changed"), "{text}");
        let none = report(&Erased::default(), "the account 0x1", false);
        assert!(none.starts_with("nothing to erase") && none.contains("the account 0x1"), "{none}");
    }
}
