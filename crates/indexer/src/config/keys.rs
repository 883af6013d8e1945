//! The keys that exist, and the existing key that is nearest to an unknown one.

use serde_json::Value;

use super::{Config, ConfigError, Retention, Source};

/// What a key holds: how a text from the environment or a flag is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Boolean,
    List,
}

/// Every key, dotted, with what it holds. `sources.kind` and `retention.kinds` are keys of tables
/// in a list: only the file can set them.
#[derive(Debug)]
pub(super) struct Keys(Vec<(String, Kind)>);

impl Keys {
    /// Taken from the settings themselves, so that no second list can disagree.
    pub(super) fn of(defaults: &Config) -> Result<Self, ConfigError> {
        let mut full = defaults.clone();
        full.sources = vec![Source::with_every_key()];
        full.retention = vec![Retention::with_every_key()];
        let tree = serde_json::to_value(&full)
            .map_err(|error| ConfigError::Usage(format!("cannot list the settings: {error}")))?;
        let mut keys = Vec::new();
        collect("", &tree, &mut keys);
        Ok(Self(keys))
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> std::slice::Iter<'_, (String, Kind)> {
        self.0.iter()
    }

    pub(super) fn kind(&self, key: &str) -> Option<Kind> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, kind)| *kind)
    }

    /// The key that looks most like this one.
    pub(super) fn nearest(&self, key: &str) -> String {
        let likeness = |known: &str| {
            let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
            // The right name in the wrong section is nearer than the edit distance of the whole key suggests.
            strsim::normalized_damerau_levenshtein(known, key)
                .max(strsim::normalized_damerau_levenshtein(&last(known), &last(key)) * 0.9)
        };
        let best = self.0.iter().max_by(|(a, _), (b, _)| likeness(a).total_cmp(&likeness(b)));
        best.map(|(known, _)| known.clone()).unwrap_or_default()
    }
}

fn collect(under: &str, value: &Value, keys: &mut Vec<(String, Kind)>) {
    let kind = match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                collect(&join(under, name), inner, keys);
            }
            return;
        }
        Value::Array(list) => {
            for inner in list {
                collect(under, inner, keys);
            }
            Kind::List
        }
        Value::Number(_) => Kind::Integer,
        Value::Bool(_) => Kind::Boolean,
        // What may be absent (null) is a URL or a name.
        Value::String(_) | Value::Null => Kind::Text,
    };
    keys.push((under.to_owned(), kind));
}

fn join(under: &str, name: &str) -> String {
    if under.is_empty() { name.to_owned() } else { format!("{under}.{name}") }
}
