//! The environment, as far as it holds settings.

use std::path::Path;

use super::{ConfigError, keys::Keys};
use crate::text;

/// The prefix of variables that set a key: `http.listen` is `XMTP_INDEXER__HTTP__LISTEN`.
pub(super) const PREFIX: &str = "XMTP_INDEXER__";

/// Names that other programs use, too, and what they mean. Weaker than our own.
const ALIASES: [(&str, &str); 2] = [("DATABASE_URL", "database.url"), ("AMQP_URL", "queue.url")];

/// Keys whose value may be in a file that a variable names, because it is a secret.
const SECRETS: [&str; 3] = ["database.url", "database.reader_url", "queue.url"];

/// What is appended to the name of a variable when it holds the path of such a file.
const FILE: &str = "_FILE";

/// The variables that concern us. Empty ones count as not set.
#[derive(Debug, Default)]
pub struct Variables {
    pairs: Vec<(String, String)>,
}

/// The value that a variable sets a key to.
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) value: String,
}

impl Variables {
    /// Those of this process. What is not Unicode cannot be one of ours.
    pub fn of_process() -> Self {
        let all = std::env::vars_os();
        Self::new(all.filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))))
    }

    /// The variables, from an iterator.
    pub fn new(all: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |name: &str| {
            let bare = name.strip_suffix(FILE).unwrap_or(name);
            name.starts_with(PREFIX)
                || name == "RUST_LOG"
                || ALIASES.iter().any(|(alias, _)| *alias == bare)
        };
        let mut pairs: Vec<_> = all.into_iter().filter(|(name, _)| ours(name)).collect();
        pairs.sort();
        Self { pairs }
    }

    /// `RUST_LOG`, if it is set.
    pub fn rust_log(&self) -> Option<&str> {
        let found = self.pairs.iter().find(|(name, _)| name == "RUST_LOG");
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// What the variables set, the weakest first.
    ///
    /// # Errors
    /// A variable names no key, its file cannot be read, or a value is set twice.
    pub(super) fn settings(&self, keys: &Keys) -> Result<Vec<Setting>, ConfigError> {
        let (mut weak, mut strong) = (Vec::new(), Vec::new());
        for (name, value) in &self.pairs {
            let in_file = name.strip_suffix(FILE);
            let bare = in_file.unwrap_or(name);
            let alias = ALIASES.iter().find(|(alias, _)| *alias == bare);
            let key = match (alias, name.strip_prefix(PREFIX)) {
                (Some((_, key)), _) => (*key).to_owned(),
                (None, Some(path)) => dotted(path),
                (None, None) => continue,
            };
            let secret = in_file.and_then(|_| {
                let bare = key.strip_suffix("_file").unwrap_or(&key);
                SECRETS.iter().find(|secret| **secret == bare)
            });
            if alias.is_none() && secret.is_none() && keys.kind(&key).is_none() {
                return Err(ConfigError::Unknown {
                    origin: "the environment".to_owned(),
                    key: name.clone(),
                    nearest: format!("{PREFIX}{}", spelled(&keys.nearest(&key))),
                });
            }
            if value.trim().is_empty() {
                continue;
            }
            let (key, value) = match secret {
                Some(key) if self.has(bare) => {
                    let reason = format!("{bare} is set, too: keep one of the two");
                    return Err(ConfigError::Value { key: format!("{name} ({key})"), reason });
                }
                Some(key) => ((*key).to_owned(), secret_of(name, value)?),
                None => (key, value.clone()),
            };
            let list = if alias.is_some() { &mut weak } else { &mut strong };
            list.push(Setting { name: name.clone(), key, value });
        }
        weak.append(&mut strong);
        Ok(weak)
    }

    fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(known, value)| known == name && !value.trim().is_empty())
    }
}

/// The key that the rest of a variable's name refers to.
fn dotted(path: &str) -> String {
    path.to_lowercase().replace("__", ".")
}

fn spelled(key: &str) -> String {
    key.to_uppercase().replace('.', "__")
}

/// Reads the file of a secret. The line break at its end is no part of it.
fn secret_of(name: &str, path: &str) -> Result<String, ConfigError> {
    let refuse = |reason| ConfigError::Value { key: name.to_owned(), reason };
    let text = text::read(Path::new(path)).map_err(|error| refuse(format!("{error:#}")))?;
    match text.trim() {
        "" => Err(refuse(format!("{path} is empty"))),
        secret => Ok(secret.to_owned()),
    }
}
