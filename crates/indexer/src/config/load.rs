//! From defaults, a file, the environment and flags to settings. Figment merges the layers and knows which of them a value
//! came from; this module finds the layers and describes errors in them.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use figment::{
    Error, Figment, Metadata, Profile, Provider,
    error::Kind as Wrong,
    value::{Dict, Map, Value},
};

use super::{
    Config, ConfigError, Source,
    keys::{Keys, Kind},
    variables::{PREFIX, Variables},
};

const DEFAULTS: &str = include_str!("../../config.default.toml");
const DEFAULTS_NAME: &str = "config.default.toml";

/// Read when no file is named, if it is there.
const USUAL_FILE: &str = "xmtp-indexer.toml";

/// Values set by flags; the last one for a key wins.
#[derive(Debug, Default)]
pub struct Overrides {
    pairs: Vec<(String, String)>,
}

impl Overrides {
    /// Sets a key to the value of a flag.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.pairs.push((key.to_owned(), value.into()));
    }

    /// Sets a key by `KEY=VALUE`.
    pub fn set_pair(&mut self, pair: &str) -> Result<(), ConfigError> {
        let (key, value) = pair.split_once('=').ok_or_else(|| {
            ConfigError::Usage(format!("--set takes KEY=VALUE, and `{pair}` has no `=`"))
        })?;
        self.set(key, value);
        Ok(())
    }
}

impl Config {
    /// The compiled-in settings.
    pub fn defaults() -> Result<Self, ConfigError> {
        toml::from_str(DEFAULTS).map_err(|error| syntax(Path::new(DEFAULTS_NAME), &error))
    }

    /// The settings in force.
    ///
    /// # Errors
    /// One sentence that names the layer and the key that is wrong.
    pub fn load(
        file: Option<&Path>,
        variables: &Variables,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let keys = Keys::of(&Self::defaults()?)?;
        let mut layers = Figment::from(Layer::of_file(Path::new(DEFAULTS_NAME), DEFAULTS)?);
        if let Some((path, text)) = read(file)? {
            layers = layers.merge(Layer::of_file(&path, &text)?);
        }
        for setting in variables.settings(&keys)? {
            layers =
                layers.merge(Layer::of_text(&keys, &setting.name, &setting.key, &setting.value)?);
        }
        for (key, value) in &overrides.pairs {
            layers = layers.merge(Layer::of_text(&keys, key, key, value)?);
        }
        let config: Self = layers.extract().map_err(|error| explain(&layers, &keys, error))?;
        config.validate()?;
        Ok(config)
    }

    /// The settings in the form of a configuration file, without secrets.
    pub fn show(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }
}

/// Values that came from one place: a file, a variable, a flag.
struct Layer {
    origin: String,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

impl Layer {
    fn of_file(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = toml::from_str(text).map_err(|error| syntax(path, &error))?;
        let refused = |reason: String| ConfigError::File { path: path.to_owned(), reason };
        match Value::serialize(table).map_err(|error| refused(error.to_string()))? {
            Value::Dict(_, values) => Ok(Self { origin: path.display().to_string(), values }),
            _ => Err(refused("it is not a table of settings".to_owned())),
        }
    }

    /// The value of one key as a text, from where it is called `origin`.
    fn of_text(keys: &Keys, origin: &str, key: &str, text: &str) -> Result<Self, ConfigError> {
        let refuse = |reason| ConfigError::Value { key: origin.to_owned(), reason };
        let value = match keys.kind(key) {
            None => {
                let (key, nearest) = (key.to_owned(), keys.nearest(key));
                return Err(ConfigError::Unknown { origin: origin.to_owned(), key, nearest });
            }
            Some(Kind::Text) => Value::from(text),
            Some(Kind::Integer) => Value::from(
                text.trim()
                    .parse::<i64>()
                    .map_err(|_| refuse(format!("`{text}` is not a whole number")))?,
            ),
            Some(Kind::Boolean) => Value::from(
                text.trim()
                    .parse::<bool>()
                    .map_err(|_| refuse(format!("`{text}` is neither true nor false")))?,
            ),
            Some(Kind::List) => {
                let items = text.split([',', ' ']).map(str::trim).filter(|item| !item.is_empty());
                let items = items.map(|item| item_of(key, item)).collect::<Result<Vec<_>, _>>();
                Value::from(items.map_err(refuse)?)
            }
        };
        let nested = figment::util::nest(key, value);
        let values = nested.into_dict().unwrap_or_default();
        Ok(Self { origin: origin.to_owned(), values })
    }
}

/// An item of a list. Those of `sources` are tables.
fn item_of(key: &str, text: &str) -> Result<Value, String> {
    if key != "sources" {
        return Ok(Value::from(text));
    }
    let source: Source = text.parse()?;
    let url = source.addresses().collect();
    let table = [("kind", source.kind.clone()), ("url", url)];
    Ok(Value::from(Map::from(table.map(|(name, value)| (name.to_owned(), value)))))
}

/// The sentence about what is wrong with the merged layers.
fn explain(layers: &Figment, keys: &Keys, error: Error) -> ConfigError {
    let mut path = error.path.clone();
    if let Wrong::UnknownField(name, _) = &error.kind
        && path.last() != Some(name)
    {
        path.push(name.clone());
    }
    // The places in lists are no parts of a key.
    let is_name = |part: &&String| part.parse::<usize>().is_err();
    let key = path.iter().filter(is_name).cloned().collect::<Vec<_>>().join(".");
    // An unknown key is found when the merged section is read, to which every layer may have contributed.
    let places = (1..=path.len()).rev().map(|length| path[..length].join("."));
    let found = places.filter_map(|place| layers.find_metadata(&place).cloned()).next();
    let origin = match (&error.kind, error.metadata) {
        (Wrong::UnknownField(..), _) | (_, None) => found,
        (_, metadata) => metadata,
    };
    let origin = origin.map_or_else(|| "the settings".to_owned(), |known| known.name.into_owned());
    match error.kind {
        Wrong::UnknownField(..) => {
            let nearest = keys.nearest(&key);
            ConfigError::Unknown { origin, key, nearest }
        }
        // A flag is named like its key, and a variable contains its key.
        kind => {
            let reason = kind.to_string();
            let names_key = origin == key || origin.starts_with(PREFIX) || key.is_empty();
            let key = if names_key { origin } else { format!("{origin}: {key}") };
            ConfigError::Value { key, reason }
        }
    }
}

fn read(file: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let path = file.unwrap_or(Path::new(USUAL_FILE)).to_path_buf();
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text.trim_start_matches('\u{feff}').to_owned()))),
        Err(error) if error.kind() == ErrorKind::NotFound && file.is_none() => Ok(None),
        Err(error) => Err(ConfigError::File { path, reason: format!("cannot be read: {error}") }),
    }
}

fn syntax(path: &Path, error: &toml::de::Error) -> ConfigError {
    // The parser draws the line with the mistake; what remains is where and what.
    let telling = |line: &&str| !line.is_empty() && !line.contains(" | ") && !line.ends_with('|');
    let text = error.to_string();
    let reason = text.lines().map(str::trim).filter(telling).collect::<Vec<_>>().join(", ");
    ConfigError::File { path: path.to_path_buf(), reason }
}

#[cfg(test)]
mod tests;
