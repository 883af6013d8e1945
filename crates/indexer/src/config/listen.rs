//! Addresses to listen on, by number or by name.

use std::net::{SocketAddr, ToSocketAddrs};

use serde::{Deserialize, Deserializer, de::Error};

/// Resolves `HOST:PORT`. A name with several addresses, like `localhost`, resolves to its first IPv4 address if it has one.
///
/// # Errors
/// A sentence with what was wrong and an example.
pub fn resolve(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let refused = |reason| {
        format!(
            "cannot listen on `{text}`: {reason}; write it like 127.0.0.1:8080 or localhost:8080"
        )
    };
    let found: Vec<SocketAddr> =
        text.to_socket_addrs().map_err(|error| refused(error.to_string()))?.collect();
    let first = found.iter().find(|address| address.is_ipv4()).or(found.first());
    first.copied().ok_or_else(|| refused("the name has no address".to_owned()))
}

pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    resolve(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn optional_address<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| resolve(&text).map_err(D::Error::custom)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_resolved_and_anything_else_is_explained() {
        assert_eq!(resolve("localhost:80").unwrap(), SocketAddr::from(([127, 0, 0, 1], 80)));
        assert_eq!(resolve("[::1]:80").unwrap().to_string(), "[::1]:80");
        for wrong in ["", "localhost", "127.0.0.1", "127.0.0.1:99999", "no such host:1"] {
            let said = resolve(wrong).unwrap_err();
            assert!(said.contains("localhost:8080"), "{said}");
        }
    }
}
