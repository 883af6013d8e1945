//! How a server is shown to the world. The defaults are fit for a public address.

use std::{fmt, net::IpAddr, num::NonZeroU32, sync::Arc, time::Duration};

use serde_json::{Map, Value};

use crate::{
    guard::Limits,
    transport::{
        origin::Cors,
        persisted::{Persisted, Trusted},
        ws::SocketLimits,
    },
};

/// How often one address may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests a minute, on average.
    pub per_minute: NonZeroU32,
    /// Requests at once.
    pub burst: NonZeroU32,
}

type Admits = dyn Fn(&Map<String, Value>) -> bool + Send + Sync;

/// Decides who may use a socket, by what the client sends when it begins.
#[derive(Clone)]
pub struct Admission(Arc<Admits>);

impl Admission {
    /// Lets in whom this is true for.
    pub fn new(admits: impl Fn(&Map<String, Value>) -> bool + Send + Sync + 'static) -> Admission {
        Admission(Arc::new(admits))
    }

    pub(super) fn admits(&self, payload: &Map<String, Value>) -> bool {
        (self.0)(payload)
    }
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Admission")
    }
}

/// Limits and rules of a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Exposure {
    /// What one request may ask for.
    pub limits: Limits,
    /// What one socket may do.
    pub sockets: SocketLimits,
    /// Pages of which other sites may ask.
    pub cors: Cors,
    /// Which documents are executed.
    pub persisted: Persisted,
    /// The operator's list of documents.
    pub trusted: Trusted,
    /// May callers ask what can be asked?
    pub introspection: bool,
    /// The page for trying queries.
    pub graphiql: bool,
    /// How long an answer may take.
    pub timeout: Duration,
    /// How long a body may take to come.
    pub body_timeout: Duration,
    /// How often one address may ask; none is as often as it likes.
    pub rate: Option<Rate>,
    /// Proxies in front of this server: what they say about where a request comes from is believed.
    pub proxies: Vec<IpAddr>,
    /// Who may use sockets; none is everybody.
    pub admission: Option<Admission>,
    /// Answers tell how many statements they took.
    pub debug: bool,
}

impl Default for Exposure {
    fn default() -> Self {
        Exposure {
            limits: Limits::default(),
            sockets: SocketLimits::default(),
            cors: Cors::default(),
            persisted: Persisted::default(),
            trusted: Trusted::default(),
            introspection: true,
            graphiql: true,
            timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(10),
            rate: None,
            proxies: Vec::new(),
            admission: None,
            debug: false,
        }
    }
}
