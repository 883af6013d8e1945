//! The address of a broker: one or several nodes of a cluster, credentials, virtual host, TLS.
//!
//! `amqp://user:password@a:5672,b:5672/vhost?heartbeat=10` names two nodes. The query's parameters and their meaning are
//! RabbitMQ's own, as far as they are supported ([`PARAMETERS`]). As the URI specification of RabbitMQ has it, an address
//! without a path names the virtual host `/`, and one whose path is a lone `/` names the virtual host with the empty name.

use std::str::FromStr;

use lapin::tcp::OwnedTLSConfig;
use lapin::uri::{AMQPScheme, AMQPUri};
use url::Url;

use crate::error::{Error, Result};

/// The parameters that an address may have.
const PARAMETERS: [&str; 6] =
    ["auth_mechanism", "cacertfile", "channel_max", "connection_timeout", "frame_max", "heartbeat"];

/// Seconds between heartbeats: a dead peer is noticed within half a minute when nothing else shows it.
const HEARTBEAT: u16 = 15;

/// Milliseconds for connecting to one node, including the handshake.
const CONNECTION_TIMEOUT: u64 = 10_000;

/// A parsed address.
#[derive(Clone)]
pub(crate) struct Address {
    /// One for each node, in the order of the address; never empty.
    pub(crate) nodes: Vec<AMQPUri>,
    /// Certificates in PEM that are trusted in addition to those of the system.
    pub(crate) certificates: Option<String>,
}

impl Address {
    /// Parses an address and reads the certificates that it names.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        // Nothing of the address is repeated in an error: any part of it may hold the password.
        let wrong = |why: &str| Error::Address(why.replace(text, "…"));
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(wrong("it has no scheme"));
        };
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = match authority.rsplit_once('@') {
            Some((user, hosts)) => (format!("{user}@"), hosts),
            None => (String::new(), authority),
        };
        let mut nodes = Vec::new();
        for host in hosts.split(',') {
            if host.is_empty() && hosts.contains(',') {
                return Err(wrong("a host is missing beside a comma"));
            }
            nodes.push(node(&format!("{scheme}://{user}{host}{tail}")).map_err(|why| wrong(&why))?);
        }
        let certificates = match certificate_file(&format!("{scheme}://host{tail}"))? {
            Some(_) if scheme != "amqps" => {
                return Err(wrong("cacertfile is for TLS: the scheme must be amqps"));
            }
            Some(path) => Some(std::fs::read_to_string(&path).map_err(|error| {
                Error::Address(format!("the cacertfile `{path}` cannot be read: {error}"))
            })?),
            None => None,
        };
        Ok(Self { nodes, certificates })
    }

    /// What TLS needs to know.
    pub(crate) fn tls(&self) -> OwnedTLSConfig {
        OwnedTLSConfig { identity: None, cert_chain: self.certificates.clone() }
    }

    /// The virtual host.
    pub(crate) fn vhost(&self) -> &str {
        self.nodes.first().map_or("/", |node| &node.vhost)
    }
}

impl std::fmt::Debug for Address {
    /// Never prints the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(target).collect();
        write!(f, "{} vhost {:?}", nodes.join(","), self.vhost())
    }
}

/// Scheme, host and port of a node, without credentials.
pub(crate) fn target(node: &AMQPUri) -> String {
    let scheme = match node.scheme {
        AMQPScheme::AMQP => "amqp",
        AMQPScheme::AMQPS => "amqps",
    };
    let (host, port) = (&node.authority.host, node.authority.port);
    match host.contains(':') {
        true => format!("{scheme}://[{host}]:{port}"),
        false => format!("{scheme}://{host}:{port}"),
    }
}

/// Parses the address of one node.
fn node(text: &str) -> Result<AMQPUri, String> {
    let mut node = AMQPUri::from_str(text)?;
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    // The client library takes any address with an IPv6 literal for localhost.
    if let Some(url::Host::Ipv6(literal)) = url.host() {
        node.authority.host = literal.to_string();
    }
    node.query.heartbeat.get_or_insert(HEARTBEAT);
    node.query.connection_timeout.get_or_insert(CONNECTION_TIMEOUT);
    Ok(node)
}

/// The value of `cacertfile`. Unknown parameters are refused: a misspelt one would be noticed only in production.
fn certificate_file(text: &str) -> Result<Option<String>> {
    let url = Url::parse(text).map_err(|error| Error::Address(error.to_string()))?;
    let mut path = None;
    for (key, value) in url.query_pairs() {
        if !PARAMETERS.contains(&key.as_ref()) {
            let known = PARAMETERS.join(", ");
            return Err(Error::Address(format!("unknown parameter `{key}`; known are: {known}")));
        }
        if key == "cacertfile" {
            path = Some(value.into_owned());
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn hosts(text: &str) -> Vec<(String, u16)> {
        let nodes = parse(text).nodes.into_iter();
        nodes.map(|node| (node.authority.host, node.authority.port)).collect()
    }

    #[test]
    fn several_hosts_share_credentials_vhost_and_parameters() {
        let address = parse("amqp://u:p%2C%40@a:1,b,[::1]:3/v?heartbeat=7");
        assert_eq!(address.nodes.len(), 3);
        for node in &address.nodes {
            assert_eq!(
                (node.authority.userinfo.username.as_str(), node.vhost.as_str()),
                ("u", "v")
            );
            assert_eq!(node.authority.userinfo.password, "p,@");
            assert_eq!(node.query.heartbeat, Some(7));
        }
        assert_eq!(
            hosts("amqp://u:p@a:1,b,[::1]:3/v"),
            [("a".into(), 1), ("b".into(), 5672), ("::1".into(), 3)]
        );
        assert_eq!(format!("{address:?}"), r#"amqp://a:1,amqp://b:5672,amqp://[::1]:3 vhost "v""#);
    }

    #[test]
    fn literals_of_both_families_are_hosts() {
        assert_eq!(hosts("amqp://[2001:db8::7]/%2f"), [("2001:db8::7".into(), 5672)]);
        assert_eq!(hosts("amqps://127.0.0.2"), [("127.0.0.2".into(), 5671)]);
        assert_eq!(hosts("amqp://"), [("localhost".into(), 5672)]);
    }

    #[test]
    fn the_vhost_is_the_path_decoded() {
        for (text, vhost) in [
            ("amqp://h", "/"),
            ("amqp://h?heartbeat=9", "/"),
            ("amqp://h/", ""),
            ("amqp://a,b/?heartbeat=9", ""),
            ("amqp://h/%2f", "/"),
            ("amqp://h/a%2Fb", "a/b"),
            ("amqp://h/xmtp", "xmtp"),
        ] {
            assert_eq!(parse(text).vhost(), vhost, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, part) in [
            ("host:5672", "no scheme"),
            ("http://u:secret@host", "scheme"),
            ("amqp://u:secret@a,,b/", "beside a comma"),
            ("amqp://u:secret@a:port/", "port"),
            ("amqp://u:secret@a/?hartbeat=3", "unknown parameter `hartbeat`"),
            ("amqp://u:secret@a/?cacertfile=/ca.pem", "must be amqps"),
            ("amqps://u:secret@a/?cacertfile=/no/such%20file", "`/no/such file` cannot be read"),
        ] {
            let error = Address::parse(text).unwrap_err().to_string();
            assert!(error.contains(part) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
