//! The settings of the API. Their defaults are those of the `api` crate, checked by a test.

use std::{fs, net::IpAddr, num::NonZeroU32, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::{ConfigError, sections::refuse};

/// What the API offers to its callers, and within which limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Whether introspection is allowed.
    pub introspection: bool,
    /// Whether GraphiQL is served.
    pub graphiql: bool,
    /// Whether requests need an API key.
    pub keys: Keys,
    /// Which callers may send unfiltered lists.
    pub listings: Listings,
    /// Whether responses include the number of SQL statements that they took.
    pub debug: bool,
    /// How long a request may take.
    pub timeout_seconds: u64,
    /// How long the body of a request may take to arrive.
    pub body_timeout_seconds: u64,
    /// Origins that CORS allows.
    pub cors: Vec<String>,
    /// Which documents are executed.
    pub persisted: Persisted,
    /// The file with the list of allowed documents.
    pub documents: Option<PathBuf>,
    /// Requests a minute for each address; 0 for no limit.
    pub requests_per_minute: u32,
    /// How many of them may come at once.
    pub requests_burst: u32,
    /// Proxies whose forwarding headers are trusted.
    pub proxies: Vec<IpAddr>,
    /// Limits of one request.
    pub limits: ApiLimits,
    /// Limits of one WebSocket or event stream.
    pub sockets: ApiSockets,
}

/// Whether requests need an API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keys {
    /// Keys are ignored.
    Off,
    /// A request may present a key; a presented key must be valid.
    Optional,
    /// Every request must present a key.
    Required,
}

/// Which callers may send unfiltered lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listings {
    /// Everybody on a loopback address; requests with a key on a public server.
    Auto,
    /// Everybody.
    Open,
    /// Requests with a key.
    Keyed,
    /// Nobody.
    Closed,
}

/// Which documents are executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Persisted {
    /// Any, sent whole.
    Off,
    /// Any; after the first time the hash is enough (automatic persisted queries).
    Apq,
    /// Those of the list of allowed documents.
    Only,
}

/// Limits of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiLimits {
    /// Bytes of a body or a frame.
    pub body_bytes: usize,
    /// Bytes of a document.
    pub document_bytes: usize,
    /// Tokens of a document.
    pub tokens: usize,
    /// Nesting of fields.
    pub depth: usize,
    /// Fields, fragments expanded.
    pub nodes: u64,
    /// Aliases, fragments expanded.
    pub aliases: u64,
    /// Fields of the root type.
    pub root_fields: u64,
    /// Complexity.
    pub complexity: u64,
    /// Bytes of a response.
    pub answer_bytes: usize,
}

/// Limits of one WebSocket or event stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiSockets {
    /// How long the initialisation may take.
    pub init_seconds: u64,
    /// How often an idle client is pinged.
    pub ping_seconds: u64,
    /// How long it may be silent.
    pub silence_seconds: u64,
    /// How long a socket may live.
    pub age_seconds: u64,
    /// How long a frame may wait for a slow reader.
    pub write_seconds: u64,
    /// Operations of one socket at once.
    pub operations: usize,
    /// Sockets and event streams of the process at once.
    pub connections: usize,
}

impl Api {
    /// Returns the settings as the server takes them, for a loopback address or a `public` server.
    ///
    /// # Errors
    /// A sentence that names the key with an impossible value, or the list of documents that cannot be read.
    pub fn exposure(&self, public: bool) -> Result<api::Exposure, ConfigError> {
        self.bounds()?;
        let mut exposure = api::Exposure::default();
        exposure.introspection = self.introspection;
        exposure.graphiql = self.graphiql;
        exposure.debug = self.debug;
        exposure.keys = match self.keys {
            Keys::Off => api::Keys::Off,
            Keys::Optional => api::Keys::Optional,
            Keys::Required => api::Keys::Required,
        };
        exposure.listings = match self.listings {
            Listings::Auto if public => api::Listings::Keyed,
            Listings::Auto | Listings::Open => api::Listings::Open,
            Listings::Keyed => api::Listings::Keyed,
            Listings::Closed => api::Listings::Closed,
        };
        exposure.timeout = Duration::from_secs(self.timeout_seconds);
        exposure.body_timeout = Duration::from_secs(self.body_timeout_seconds);
        exposure.cors = api::Cors::from_origins(&self.cors);
        exposure.persisted = match self.persisted {
            Persisted::Off => api::Persisted::Off,
            Persisted::Apq => api::Persisted::Apq,
            Persisted::Only => api::Persisted::Only,
        };
        exposure.trusted = self.trusted()?;
        exposure.rate =
            match (NonZeroU32::new(self.requests_per_minute), NonZeroU32::new(self.requests_burst))
            {
                (Some(per_minute), Some(burst)) => Some(api::Rate { per_minute, burst }),
                (Some(_), None) => return Err(refuse("api.requests_burst", "must be at least 1")),
                (None, _) => None,
            };
        exposure.proxies.clone_from(&self.proxies);
        let (limits, wanted) = (&mut exposure.limits, &self.limits);
        limits.body_bytes = wanted.body_bytes;
        limits.document_bytes = wanted.document_bytes;
        limits.tokens = wanted.tokens;
        limits.depth = wanted.depth;
        limits.nodes = wanted.nodes;
        limits.aliases = wanted.aliases;
        limits.root_fields = wanted.root_fields;
        limits.complexity = wanted.complexity;
        limits.answer_bytes = wanted.answer_bytes;
        let (sockets, wanted) = (&mut exposure.sockets, &self.sockets);
        sockets.init = Duration::from_secs(wanted.init_seconds);
        sockets.ping = Duration::from_secs(wanted.ping_seconds);
        sockets.silence = Duration::from_secs(wanted.silence_seconds);
        sockets.age = Duration::from_secs(wanted.age_seconds);
        sockets.write = Duration::from_secs(wanted.write_seconds);
        sockets.operations = wanted.operations;
        sockets.connections = wanted.connections;
        Ok(exposure)
    }

    fn trusted(&self) -> Result<api::Trusted, ConfigError> {
        let Some(path) = &self.documents else {
            return match self.persisted {
                Persisted::Only => Err(refuse(
                    "api.documents",
                    "name the list of documents that api.persisted = \"only\" allows",
                )),
                Persisted::Off | Persisted::Apq => Ok(api::Trusted::default()),
            };
        };
        let text = fs::read_to_string(path).map_err(|error| {
            refuse("api.documents", &format!("cannot read {}: {error}", path.display()))
        })?;
        api::Trusted::read(&text)
            .map_err(|reason| refuse("api.documents", &format!("{}: {reason}", path.display())))
    }

    fn bounds(&self) -> Result<(), ConfigError> {
        let (limits, sockets) = (&self.limits, &self.sockets);
        let all = [
            ("api.timeout_seconds", self.timeout_seconds),
            ("api.body_timeout_seconds", self.body_timeout_seconds),
            ("api.limits.body_bytes", limits.body_bytes as u64),
            ("api.limits.document_bytes", limits.document_bytes as u64),
            ("api.limits.tokens", limits.tokens as u64),
            ("api.limits.depth", limits.depth as u64),
            ("api.limits.nodes", limits.nodes),
            ("api.limits.root_fields", limits.root_fields),
            ("api.limits.complexity", limits.complexity),
            ("api.limits.answer_bytes", limits.answer_bytes as u64),
            ("api.sockets.init_seconds", sockets.init_seconds),
            ("api.sockets.ping_seconds", sockets.ping_seconds),
            ("api.sockets.silence_seconds", sockets.silence_seconds),
            ("api.sockets.age_seconds", sockets.age_seconds),
            ("api.sockets.write_seconds", sockets.write_seconds),
            ("api.sockets.operations", sockets.operations as u64),
            ("api.sockets.connections", sockets.connections as u64),
        ];
        match all.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(refuse(key, "must be at least 1")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Config, *};

    fn defaults() -> Api {
        Config::defaults().unwrap().api
    }

    #[test]
    fn the_file_says_what_the_server_does_without_it() {
        let ours = format!("{:?}", defaults().exposure(false).unwrap());
        assert_eq!(ours, format!("{:?}", api::Exposure::default()));
    }

    #[test]
    fn what_is_set_reaches_the_server() {
        let mut api = defaults();
        api.limits.depth = 3;
        api.sockets.age_seconds = 7;
        api.cors = vec!["https://app.example/".into()];
        api.requests_per_minute = 60;
        api.introspection = false;
        let exposure = api.exposure(false).unwrap();
        assert_eq!(exposure.limits.depth, 3);
        assert_eq!(exposure.sockets.age, Duration::from_secs(7));
        assert_eq!(exposure.cors, api::Cors::List(vec!["https://app.example".into()]));
        assert_eq!(exposure.rate.unwrap().per_minute.get(), 60);
        assert!(!exposure.introspection);
    }

    #[test]
    fn where_others_can_ask_lists_need_a_key_unless_told_otherwise() {
        let mut api = defaults();
        assert_eq!(api.exposure(false).unwrap().listings, api::Listings::Open);
        assert_eq!(api.exposure(true).unwrap().listings, api::Listings::Keyed);
        api.listings = Listings::Open;
        assert_eq!(api.exposure(true).unwrap().listings, api::Listings::Open);
        api.listings = Listings::Closed;
        assert_eq!(api.exposure(false).unwrap().listings, api::Listings::Closed);
        api.keys = Keys::Required;
        assert_eq!(api.exposure(true).unwrap().keys, api::Keys::Required);
    }

    #[test]
    fn what_cannot_be_names_its_key() {
        let said = |change: fn(&mut Api)| {
            let mut api = defaults();
            change(&mut api);
            api.exposure(false).unwrap_err().to_string()
        };
        assert!(said(|api| api.limits.tokens = 0).contains("api.limits.tokens"));
        assert!(said(|api| api.persisted = Persisted::Only).contains("api.documents"));
        let missing = said(|api| api.documents = Some("no/such/file.json".into()));
        assert!(missing.contains("api.documents") && missing.contains("no/such/file.json"));
        let burst = said(|api| {
            api.requests_per_minute = 1;
            api.requests_burst = 0;
        });
        assert!(burst.contains("api.requests_burst"));
    }

    #[test]
    fn a_list_of_documents_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("documents.json");
        fs::write(&path, r#"{"head":"{ status { head } }"}"#).unwrap();
        let mut api = defaults();
        (api.persisted, api.documents) = (Persisted::Only, Some(path.clone()));
        assert_ne!(api.exposure(false).unwrap().trusted, api::Trusted::default());
        fs::write(&path, "[]").unwrap();
        assert!(api.exposure(false).unwrap_err().to_string().contains("documents.json"));
    }
}
