//! How a server is shown to the world. The defaults are fit for a public address.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use super::access::Keys;
use crate::{
    guard::{Limits, Listings},
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
    /// How often an event stream on which nothing happens shows that it lives. Never zero.
    pub heartbeat: Duration,
    /// How often one address may ask without a key; none is as often as it likes.
    pub rate: Option<Rate>,
    /// Proxies in front of this server: what they say about where a request comes from is believed.
    pub proxies: Vec<IpAddr>,
    /// Whether callers need keys.
    pub keys: Keys,
    /// Who may list what they cannot name.
    pub listings: Listings,
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
            heartbeat: Duration::from_secs(12),
            rate: None,
            proxies: Vec::new(),
            keys: Keys::default(),
            listings: Listings::default(),
            debug: false,
        }
    }
}
