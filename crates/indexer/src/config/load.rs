//! From files, variables and flags to settings.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    Config, ConfigError,
    keys::{Keys, Kind},
};

const DEFAULTS: &str = include_str!("../../config.default.toml");

/// Read when no file is named, if it is there.
const USUAL_FILE: &str = "xmtp-indexer.toml";

const PREFIX: &str = "XMTP_INDEXER__";

/// Names that people have already, and what they mean. Weaker than our own.
const ALIASES: [(&str, &str); 2] = [("DATABASE_URL", "database.url"), ("AMQP_URL", "queue.url")];

/// The environment, as far as it concerns us.
#[derive(Debug, Default)]
pub struct Variables {
    pairs: Vec<(String, String)>,
}

impl Variables {
    /// Those of this process. What is not Unicode cannot be one of ours.
    pub fn of_process() -> Self {
        let all = std::env::vars_os();
        Self::new(all.filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))))
    }

    /// Those given.
    pub fn new(all: impl IntoIterator<Item = (String, String)>) -> Self {
        let ours = |name: &str| {
            name.starts_with(PREFIX)
                || name == "RUST_LOG"
                || ALIASES.iter().any(|(alias, _)| *alias == name)
        };
        let mut pairs: Vec<_> = all.into_iter().filter(|(name, _)| ours(name)).collect();
        pairs.sort();
        Self { pairs }
    }

    /// `RUST_LOG`, if it is set.
    pub fn rust_log(&self) -> Option<&str> {
        self.get("RUST_LOG")
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// What flags say; the last word on a key wins.
#[derive(Debug, Default)]
pub struct Overrides {
    pairs: Vec<(String, String)>,
}

impl Overrides {
    /// Sets a key to what a flag says.
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
        let defaults = toml::from_str(DEFAULTS);
        defaults.map_err(|error| file_error(Path::new("config.default.toml"), &error))
    }

    /// The settings in force.
    pub fn load(
        file: Option<&Path>,
        variables: &Variables,
        overrides: &Overrides,
    ) -> Result<Self, ConfigError> {
        let keys = Keys::of(&Self::defaults()?)?;
        let mut layers = Layers {
            table: toml::from_str(DEFAULTS)
                .map_err(|error| file_error(Path::new("config.default.toml"), &error))?,
            keys,
        };
        if let Some((path, text)) = read(file)? {
            layers.add_file(&path, &text)?;
        }
        for (name, key) in ALIASES {
            if let Some(value) = variables.get(name).filter(|value| !value.is_empty()) {
                layers.add_text(name, key, value)?;
            }
        }
        for (name, value) in &variables.pairs {
            let Some(path) = name.strip_prefix(PREFIX) else { continue };
            let key = path.to_lowercase().replace("__", ".");
            layers.add_text(name, &key, value).map_err(|error| in_variables(error, name))?;
        }
        for (key, value) in &overrides.pairs {
            layers.add_text(key, key, value)?;
        }
        let config = layers.config().map_err(|reason| ConfigError::Usage(one_line(&reason)))?;
        config.validate()?;
        Ok(config)
    }

    /// The settings as a file would say them, without secrets.
    pub fn show(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be shown: {error}\n"))
    }
}

struct Layers {
    table: toml::Table,
    keys: Keys,
}

impl Layers {
    fn config(&self) -> Result<Config, String> {
        Config::deserialize(self.table.clone()).map_err(|error| error.to_string())
    }

    fn add_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let table: toml::Table = toml::from_str(text).map_err(|error| file_error(path, &error))?;
        if let Some(key) = self.keys.unknown(&table) {
            let nearest = self.keys.nearest(&key);
            return Err(ConfigError::Unknown { origin: path.display().to_string(), key, nearest });
        }
        merge(&mut self.table, table);
        // Tried after each layer, so that the error names the layer that is wrong.
        self.config().map(|_| ()).map_err(|reason| ConfigError::File {
            path: path.to_path_buf(),
            reason: one_line(&reason),
        })
    }

    fn add_text(&mut self, origin: &str, key: &str, text: &str) -> Result<(), ConfigError> {
        let Some(kind) = self.keys.kind(key) else {
            let nearest = self.keys.nearest(key);
            let key = key.to_owned();
            return Err(ConfigError::Unknown { origin: origin.to_owned(), key, nearest });
        };
        let refuse = |reason: String| ConfigError::Value { key: origin.to_owned(), reason };
        let value = match kind {
            Kind::Text => toml::Value::String(text.to_owned()),
            Kind::Integer => toml::Value::Integer(
                text.trim().parse().map_err(|_| refuse(format!("`{text}` is not a number")))?,
            ),
            Kind::Boolean => toml::Value::Boolean(
                text.trim()
                    .parse()
                    .map_err(|_| refuse(format!("`{text}` is neither true nor false")))?,
            ),
            Kind::List => {
                let items = text.split([',', ' ']).map(str::trim).filter(|item| !item.is_empty());
                toml::Value::Array(items.map(|item| toml::Value::String(item.to_owned())).collect())
            }
        };
        place(&mut self.table, key, value);
        self.config().map(|_| ()).map_err(|reason| refuse(one_line(&reason)))
    }
}

/// Suggests a variable where a variable was meant.
fn in_variables(error: ConfigError, name: &str) -> ConfigError {
    match error {
        ConfigError::Unknown { nearest, .. } => ConfigError::Unknown {
            origin: "the environment".to_owned(),
            key: name.to_owned(),
            nearest: format!("{PREFIX}{}", nearest.to_uppercase().replace('.', "__")),
        },
        other => other,
    }
}

fn read(file: Option<&Path>) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let path = file.unwrap_or(Path::new(USUAL_FILE)).to_path_buf();
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some((path, text))),
        Err(error) if error.kind() == ErrorKind::NotFound && file.is_none() => Ok(None),
        Err(error) => Err(ConfigError::File { path, reason: format!("cannot be read: {error}") }),
    }
}

/// Sections are merged; everything else, lists too, is replaced.
fn merge(under: &mut toml::Table, over: toml::Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over),
            (_, value) => {
                under.insert(name, value);
            }
        }
    }
}

fn place(table: &mut toml::Table, key: &str, value: toml::Value) {
    let over = key.rsplit('.').fold(value, |inner, name| {
        toml::Value::Table(toml::Table::from_iter([(name.to_owned(), inner)]))
    });
    if let toml::Value::Table(over) = over {
        merge(table, over);
    }
}

fn file_error(path: &Path, error: &toml::de::Error) -> ConfigError {
    ConfigError::File { path: path.to_path_buf(), reason: one_line(&error.to_string()) }
}

/// The parser draws the line with the mistake; what remains is where and what.
fn one_line(text: &str) -> String {
    let telling = |line: &&str| !line.is_empty() && !line.contains(" | ") && !line.ends_with('|');
    text.lines().map(str::trim).filter(telling).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(file: &str, variables: &[(&str, &str)], flags: &[&str]) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        fs::write(&path, file).unwrap();
        let pairs = variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let mut overrides = Overrides::default();
        for flag in flags {
            overrides.set_pair(flag).map_err(|error| error.to_string())?;
        }
        Config::load(Some(&path), &Variables::new(pairs), &overrides).map_err(|e| e.to_string())
    }

    #[test]
    fn each_layer_wins_over_the_one_before() {
        let file = "[queue]\nprefetch = 7\nlinger_ms = 8\npage_envelopes = 9\n";
        let variables =
            [("XMTP_INDEXER__QUEUE__PREFETCH", "70"), ("XMTP_INDEXER__QUEUE__LINGER_MS", "80")];
        let config = load(file, &variables, &["queue.prefetch=700"]).unwrap();
        assert_eq!(config.queue.prefetch, 700);
        assert_eq!(config.queue.linger_ms, 80);
        assert_eq!(config.queue.page_envelopes, 9);
        assert_eq!(config.queue.page_bytes, Config::defaults().unwrap().queue.page_bytes);
    }

    #[test]
    fn well_known_variables_are_weaker_than_ours() {
        let known = ("DATABASE_URL", "postgres://a");
        let config = load("[database]\nurl = \"postgres://file\"", &[known], &[]).unwrap();
        assert_eq!(config.database.url.unwrap().expose(), "postgres://a");
        let ours = ("XMTP_INDEXER__DATABASE__URL", "postgres://b");
        let config = load("", &[known, ours], &[]).unwrap();
        assert_eq!(config.database.url.unwrap().expose(), "postgres://b");
    }

    #[test]
    fn sources_from_everywhere() {
        let file = "[[sources]]\nkind = \"message-api\"\nurl = \"http://a:1\"\nname = \"a\"\n";
        let config = load(file, &[], &[]).unwrap();
        assert_eq!(config.sources[0].name.as_deref(), Some("a"));
        let variable = ("XMTP_INDEXER__SOURCES", "message-api=http://b:1,other=http://c:1");
        let config = load(file, &[variable], &[]).unwrap();
        assert_eq!(config.sources.len(), 2);
        assert_eq!(config.sources[1].url.expose(), "http://c:1");
        assert!(load("", &[("XMTP_INDEXER__SOURCES", "nonsense")], &[]).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line_with_the_nearest_key() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str], &'a [&'a str]);
        let cases: [Case<'_>; 14] = [
            (
                "[databse]\nurl = \"\"",
                &[],
                &[],
                &["databse", "did you mean `database.url`?", "x.toml"],
            ),
            ("[queue]\nprefech = 1", &[], &[], &["queue.prefech", "`queue.prefetch`"]),
            ("[[sources]]\nkin = \"a\"", &[], &[], &["sources.kin", "`sources.kind`"]),
            ("[[retention]]\nkind = \"a\"", &[], &[], &["retention.kind", "`retention.kinds`"]),
            ("[[retention]]\nkinds = []", &[], &[], &["x.toml", "older_than"]),
            ("[retention]\nolder_than = \"1d\"", &[], &[], &["x.toml", "retention"]),
            ("[[retention]]\nolder_than = \"1\"", &[], &[], &["retention.older_than", "90d"]),
            ("", &[("XMTP_INDEXER__RETENTION", "90d")], &[], &["RETENTION", "[[retention]]"]),
            ("[queue]\nprefetch = \"x\"", &[], &[], &["x.toml", "prefetch"]),
            ("network = ", &[], &[], &["x.toml", "line 1"]),
            ("", &[("XMTP_INDEXER__HTTP__LISTN", "")], &[], &["`XMTP_INDEXER__HTTP__LISTEN`"]),
            ("", &[("XMTP_INDEXER__HTTP__LISTEN", "x")], &[], &["XMTP_INDEXER__HTTP__LISTEN"]),
            ("", &[], &["queue.prefetch=many"], &["queue.prefetch", "`many` is not a number"]),
            ("", &[], &["http.listen=0.0.0.0:1"], &["http.public = true"]),
        ];
        for (file, variables, flags, wanted) in cases {
            let said = load(file, variables, flags).unwrap_err();
            for words in wanted {
                assert!(said.contains(words), "{said:?} lacks {words:?}");
            }
            assert!(!said.contains('\n'), "{said:?}");
        }
    }

    #[test]
    fn every_key_is_in_the_commented_defaults_and_no_secret_is_shown() {
        let defaults = Config::defaults().unwrap();
        let keys = Keys::of(&defaults).unwrap();
        let mut section = String::new();
        let mut documented = Vec::new();
        let mut comment_before = false;
        for line in DEFAULTS.lines() {
            let bare = line.trim_start_matches("# ");
            if let Some(name) = bare.strip_prefix('[') {
                section = format!("{}.", name.trim_matches(['[', ']']));
            } else if let Some((name, _)) = bare.split_once(" = ")
                && !name.contains(' ')
            {
                documented.push(format!("{section}{name}"));
                let in_list = ["sources.", "retention."].contains(&section.as_str());
                assert!(comment_before || in_list, "{name} has no comment");
            }
            comment_before = line.starts_with("# ");
        }
        for key in &documented {
            assert!(keys.kind(key).is_some(), "{key} does not exist");
        }
        let lists = ["sources", "retention"];
        for (key, _) in keys.iter().filter(|(key, _)| !lists.contains(&key.as_str())) {
            assert!(documented.contains(key), "{key} is not in config.default.toml");
        }
        let shown = load("", &[("DATABASE_URL", "postgres://me:hunter2@h/d")], &[]).unwrap().show();
        assert!(shown.contains("postgres://me:***@h/d") && !shown.contains("hunter2"), "{shown}");
        // What is shown is a valid file again, lists of tables included.
        assert!(load(&shown, &[], &[]).is_ok());
        let lists = "[[sources]]\nkind = \"a\"\nurl = \"http://b\"\n\
                     [[retention]]\nkinds = [\"invite\"]\nolder_than = \"90d\"\n\
                     [[retention]]\nolder_than = \"9000d\"\n";
        let config = load(lists, &[], &[]).unwrap();
        assert_eq!(load(&config.show(), &[], &[]).unwrap(), config);
    }
}
