//! The settings as the program uses them. Their defaults, and what they are for, are in
//! `config.default.toml`.

use std::{net::SocketAddr, path::PathBuf};

use ingest::{
    budget::BudgetOptions,
    queue::page::{MAX_BODY_BYTES, MAX_RECORDS},
};
use serde::{Deserialize, Serialize};

use super::{Api, ConfigError, Retention, SecretUrl, api::Keys, listen, retention};

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The network that the database is about.
    pub network: String,
    /// Where the embedded services and the program keep their files.
    pub data_dir: PathBuf,
    /// PostgreSQL.
    pub database: Database,
    /// RabbitMQ.
    pub queue: Queue,
    /// The API and the dashboard.
    pub http: Http,
    /// What the API allows its callers.
    pub api: Api,
    /// From nodes to the queue.
    pub pull: Pull,
    /// From the log to derived tables.
    pub project: Project,
    /// The operators' port.
    pub metrics: Metrics,
    /// What is logged.
    pub log: Log,
    /// The nodes to read from.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// What is erased when it has become too old; nothing without a rule.
    #[serde(default)]
    pub retention: Vec<Retention>,
}

/// PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// The database; None for the embedded one.
    pub url: Option<SecretUrl>,
    /// The URL for readers; None to read as the user of `url`, with fewer rights.
    pub reader_url: Option<SecretUrl>,
    /// The maximum number of connections of readers, and again of writers.
    pub max_connections: u32,
}

/// RabbitMQ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// The broker; None for the embedded one.
    pub url: Option<SecretUrl>,
    /// What the names of its exchanges and queues begin with.
    pub prefix: String,
    /// How many envelopes go into one message at most.
    pub page_envelopes: u32,
    /// How many bytes of envelopes go into one message at most.
    pub page_bytes: u64,
    /// How long a page that is not full waits for more, in milliseconds.
    pub linger_ms: u64,
    /// How many pages a worker holds unsettled.
    pub prefetch: u16,
}

/// A source: nodes that have the same envelopes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The kind of its nodes.
    pub kind: String,
    /// The URL of its node, or the first of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<SecretUrl>,
    /// The URLs of its nodes: the first that answers is read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<SecretUrl>,
    /// Its name in the database and in metrics; None to take it from the first URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// How many requests a node grants.
    #[serde(default)]
    pub budget: BudgetOptions,
    /// The options of its kind.
    #[serde(default, skip_serializing_if = "toml::Table::is_empty")]
    pub options: toml::Table,
}

impl Source {
    /// One with every key, for the list of keys. What options there are is the business of each kind.
    pub(super) fn with_every_key() -> Source {
        Source {
            kind: String::new(),
            url: Some(SecretUrl::new("")),
            urls: vec![SecretUrl::new("")],
            name: Some(String::new()),
            budget: BudgetOptions::default(),
            options: toml::Table::from_iter([("*".to_owned(), toml::Value::from(""))]),
        }
    }

    /// The addresses of its nodes, in the order in which they are tried.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.url.iter().chain(&self.urls).map(SecretUrl::expose)
    }
}

impl std::str::FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((kind, url)) if !kind.is_empty() && url.contains("://") => Ok(Self {
                kind: kind.to_owned(),
                url: Some(SecretUrl::new(url)),
                urls: Vec::new(),
                name: None,
                budget: BudgetOptions::default(),
                options: toml::Table::new(),
            }),
            _ => Err("a source is written KIND=URL, \
                      for example message-api=http://127.0.0.1:5556"
                .to_owned()),
        }
    }
}

/// The API and the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Where they are served.
    #[serde(deserialize_with = "listen::address")]
    pub listen: SocketAddr,
    /// Whether an address that others can reach is intended.
    pub public: bool,
}

/// From nodes to the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pull {
    /// How many bytes a puller holds while the broker is slow.
    pub spill_bytes: u64,
}

/// From the log to derived tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// How many envelopes go into one transaction at most.
    pub page_envelopes: u32,
    /// How many bytes of messages are held in memory for one transaction.
    pub page_bytes: u64,
}

/// The operators' port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Where /healthz, /readyz and /metrics of any role are served; None for nowhere but on the API's port.
    #[serde(default, deserialize_with = "listen::optional_address")]
    pub listen: Option<SocketAddr>,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A level or a filter.
    pub level: String,
    /// For whom.
    pub format: Format,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people on a terminal, for machines elsewhere.
    Auto,
    /// For people.
    Pretty,
    /// For machines.
    Json,
}

impl Config {
    /// Checks what types cannot express.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let bounds = [
            ("database.max_connections", u64::from(self.database.max_connections)),
            ("queue.page_envelopes", u64::from(self.queue.page_envelopes)),
            ("queue.page_bytes", self.queue.page_bytes),
            ("queue.prefetch", u64::from(self.queue.prefetch)),
            ("pull.spill_bytes", self.pull.spill_bytes),
            ("project.page_envelopes", u64::from(self.project.page_envelopes)),
            ("project.page_bytes", self.project.page_bytes),
        ];
        for (key, value) in bounds {
            if value == 0 {
                return Err(refuse(key, "must be at least 1"));
            }
        }
        if self.sources.iter().any(|source| source.addresses().next().is_none()) {
            return Err(refuse(
                "sources.url",
                "is missing: name one address, or several in sources.urls",
            ));
        }
        // What a page of the queue cannot hold, its puller would fail to publish.
        let limits = [
            ("queue.page_envelopes", u64::from(self.queue.page_envelopes), MAX_RECORDS),
            ("queue.page_bytes", self.queue.page_bytes, MAX_BODY_BYTES),
        ];
        for (key, value, limit) in limits {
            if value > limit as u64 {
                return Err(refuse(
                    key,
                    &format!("{value} is more than a page can hold: at most {limit}"),
                ));
            }
        }
        for (key, url) in [
            ("database.url", &self.database.url),
            ("database.reader_url", &self.database.reader_url),
        ] {
            // libpq's other form: `host=… dbname=…`.
            let pairs =
                |url: &&SecretUrl| !url.expose().contains("://") && url.expose().contains('=');
            let url = url.as_ref().filter(|url| !pairs(url));
            scheme(key, url, &["postgres://", "postgresql://"])?;
        }
        ingest::queue::check_network_name(&self.network)
            .map_err(|error| ConfigError::Usage(error.to_string()))?;
        self.names()?;
        scheme("queue.url", self.queue.url.as_ref(), &["amqp://", "amqps://"])?;
        let listen = self.http.listen;
        if self.is_public() && !self.http.public && self.api.keys != Keys::Required {
            let reason = format!(
                "others can reach {listen}: set --public (http.public = true) to serve everybody, \
                 or api.keys = \"required\" to serve callers with a key; otherwise listen on 127.0.0.1"
            );
            return Err(refuse("http.listen", &reason));
        }
        self.retention_rules()?;
        self.exposure().map(drop)
    }

    /// Returns the rules of retention.
    ///
    /// # Errors
    /// A sentence that names the key that is wrong.
    pub fn retention_rules(&self) -> Result<Vec<store::erase::Rule>, ConfigError> {
        retention::rules(&self.retention)
    }

    /// The names of exchanges and queues.
    ///
    /// # Errors
    /// When the prefix is unusable.
    pub fn names(&self) -> Result<ingest::Names, ConfigError> {
        ingest::Names::prefixed(&self.queue.prefix)
            .map_err(|error| ConfigError::Usage(error.to_string()))
    }

    /// Whether others than programs on this machine can connect.
    pub fn is_public(&self) -> bool {
        self.http.public || !self.http.listen.ip().is_loopback()
    }

    /// Returns the settings of the API server.
    ///
    /// # Errors
    /// A sentence that names the key with an impossible value.
    pub fn exposure(&self) -> Result<api::Exposure, ConfigError> {
        self.api.exposure(self.is_public())
    }
}

fn scheme(key: &str, url: Option<&SecretUrl>, schemes: &[&str]) -> Result<(), ConfigError> {
    match url {
        Some(url) if !schemes.iter().any(|scheme| url.expose().starts_with(scheme)) => {
            Err(refuse(key, &format!("must begin with {}", schemes.join(" or "))))
        }
        _ => Ok(()),
    }
}

pub(super) fn refuse(key: &str, reason: &str) -> ConfigError {
    ConfigError::Value { key: key.to_owned(), reason: reason.to_owned() }
}
