//! `keys`: the API keys of callers.

use std::num::NonZeroU32;

use anyhow::{Context as _, bail};
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::json;
use store::keys::{Key, NewKey, Scope};

use super::Context;
use crate::{
    output::{note, say},
    reach,
};

/// Creates, lists and revokes API keys.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Creates a key and prints it once: only its hash is stored
    Create {
        /// Its name in lists and in the log: letters, digits, `.`, `_`, `-`
        #[arg(long)]
        name: String,
        /// What it permits: read (GraphQL), push (registering for push), admin (everything); repeatable
        #[arg(long = "scope", default_value = "read", value_name = "read|push|admin")]
        scopes: Vec<Scope>,
        /// How many requests per minute it may make, for example 600/m [default: unlimited]
        #[arg(long, value_name = "N/m", value_parser = rate)]
        rate: Option<NonZeroU32>,
        /// Until when it is valid: a time (2027-01-31, 2027-01-31T12:00:00Z), or how long (12h, 90d)
        #[arg(long, value_name = "WHEN", value_parser = until)]
        expires: Option<Until>,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
    /// Lists keys, the oldest first
    List {
        /// Includes revoked keys
        #[arg(long)]
        all: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Revokes a key. Within 30 seconds servers refuse it and close its sockets and event streams
    Revoke {
        /// Its name, or its id
        name: String,
        /// One JSON object
        #[arg(long)]
        json: bool,
    },
}

/// When a key expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Until {
    At(DateTime<Utc>),
    In(TimeDelta),
}

impl Until {
    fn from(self, now: DateTime<Utc>) -> anyhow::Result<DateTime<Utc>> {
        let end = match self {
            Until::At(end) => end,
            Until::In(span) => now.checked_add_signed(span).context("--expires is too far away")?,
        };
        if end <= now {
            bail!("--expires {} is in the past", end.to_rfc3339());
        }
        Ok(end)
    }
}

fn rate(text: &str) -> Result<NonZeroU32, String> {
    let number = text.strip_suffix("/m").and_then(|number| number.trim().parse::<u32>().ok());
    number
        .filter(|number| i32::try_from(*number).is_ok())
        .and_then(NonZeroU32::new)
        .ok_or_else(|| "a rate is a number of requests a minute, at least 1: 600/m".to_owned())
}

fn until(text: &str) -> Result<Until, String> {
    if let Ok(at) = DateTime::parse_from_rfc3339(text) {
        return Ok(Until::At(at.to_utc()));
    }
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(Until::At(day.and_time(chrono::NaiveTime::MIN).and_utc()));
    }
    let span =
        text.strip_suffix('d').map(|days| (days, 24)).or(text.strip_suffix('h').map(|h| (h, 1)));
    span.and_then(|(number, hours)| {
        let number = number.parse::<u32>().ok()?;
        TimeDelta::try_hours(i64::from(number) * hours).filter(|_| number > 0).map(Until::In)
    })
    .ok_or_else(|| {
        "use a day (2027-01-31), a time (2027-01-31T12:00:00Z) or a duration (12h, 90d)".to_owned()
    })
}

/// Runs the command.
pub async fn run(args: Args, context: Context) -> anyhow::Result<()> {
    let store = reach::migrated_store(&context.config).await?;
    match args.action {
        Action::Create { name, mut scopes, rate, expires, json } => {
            scopes.sort_unstable();
            scopes.dedup();
            let expires_at = expires.map(|end| end.from(Utc::now())).transpose()?;
            let new = NewKey { name, scopes, per_minute: rate, expires_at };
            let (key, secret) = store.create_key(&new).await?;
            if json {
                let mut object = as_json(&key);
                object["key"] = json!(secret);
                say!("{object}")?;
            } else {
                note!("{}", one_line(&key));
                note!(
                    "This is shown once, and kept nowhere. Send it as authorization: Bearer <key>"
                );
                say!("{secret}")?;
            }
        }
        Action::List { all, json } => {
            let keys = store.keys(all).await?;
            if keys.is_empty() && !json {
                note!("there are no keys: `xmtp-indexer keys create --name NAME` creates one");
            }
            for key in &keys {
                match json {
                    true => say!("{}", as_json(key))?,
                    false => say!("{}", one_line(key))?,
                }
            }
        }
        Action::Revoke { name, json } => match store.revoke_key(&name).await? {
            Some(key) if json => say!("{}", as_json(&key))?,
            Some(key) => say!("{} is revoked; servers refuse it within 30 seconds", key.name)?,
            None => bail!(
                "no valid key has the name or the id `{name}`: `xmtp-indexer keys list` shows which there are"
            ),
        },
    }
    Ok(())
}

fn one_line(key: &Key) -> String {
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d %H:%M").to_string();
    let scopes: Vec<&str> = key.scopes.iter().map(|scope| scope.as_str()).collect();
    let rate = key.per_minute.map_or("any rate".to_owned(), |rate| format!("{rate}/m"));
    let mut line = format!(
        "{:<24}  {}  {:<10}  {:<9}  made {}",
        key.name,
        key.id,
        scopes.join(","),
        rate,
        day(key.created_at)
    );
    line.push_str(
        &key.last_used_at.map_or(", never used".into(), |at| format!(", used {}", day(at))),
    );
    if let Some(end) = key.expires_at {
        let word = if end <= Utc::now() { "expired" } else { "expires" };
        line.push_str(&format!(", {word} {}", day(end)));
    }
    if let Some(at) = key.revoked_at {
        line.push_str(&format!(", revoked {}", day(at)));
    }
    line
}

fn as_json(key: &Key) -> serde_json::Value {
    let time = |at: Option<DateTime<Utc>>| at.map(|at| at.to_rfc3339());
    json!({
        "id": key.id,
        "name": key.name,
        "scopes": key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "requestsPerMinute": key.per_minute,
        "createdAt": key.created_at.to_rfc3339(),
        "expiresAt": time(key.expires_at),
        "revokedAt": time(key.revoked_at),
        "lastUsedAt": time(key.last_used_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_ends_are_read_or_explained() {
        assert_eq!(rate("600/m").unwrap().get(), 600);
        for wrong in ["600", "0/m", "-1/m", "600/s", "", "9999999999/m", "4294967295/m"] {
            assert!(rate(wrong).unwrap_err().contains("600/m"), "{wrong}");
        }
        let now = "2026-11-25T10:00:00Z".parse::<DateTime<Utc>>().unwrap();
        let end = |text: &str| until(text).unwrap().from(now).map(|end| end.to_rfc3339());
        assert_eq!(end("90d").unwrap(), "2027-02-23T10:00:00+00:00");
        assert_eq!(end("12h").unwrap(), "2026-11-25T22:00:00+00:00");
        assert_eq!(end("2027-01-31").unwrap(), "2027-01-31T00:00:00+00:00");
        assert_eq!(end("2027-01-31T12:00:00+02:00").unwrap(), "2027-01-31T10:00:00+00:00");
        assert!(end("2026-11-25").unwrap_err().to_string().contains("past"));
        for wrong in ["", "0d", "d", "soon", "1w", "-1d"] {
            assert!(until(wrong).unwrap_err().contains("90d"), "{wrong}");
        }
    }
}
