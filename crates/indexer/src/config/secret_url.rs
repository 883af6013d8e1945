//! URLs that may hold a password: shown without it, unless the caller calls `expose`.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What replaces a secret.
const HIDDEN: &str = "***";

/// A URL that prints, serialises and debugs itself without its password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Takes the URL as it is.
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// The complete URL, for connecting to it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hide_parameters(&hide_user(&self.0)))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `scheme://user:password@host`. The last `@` counts: passwords hold them unescaped, too.
fn hide_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let Some((user_info, host)) = rest.rsplit_once('@') else { return url.to_owned() };
    match user_info.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:{HIDDEN}@{host}"),
        // A token without a name is as secret as a password.
        None => format!("{scheme}://{HIDDEN}@{host}"),
    }
}

/// `?password=…`, and the `password=…` of PostgreSQL's keyword form.
fn hide_parameters(url: &str) -> String {
    let secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        ["password", "token", "secret", "key"].iter().any(|word| name.ends_with(word))
    };
    let mut shown = String::with_capacity(url.len());
    for part in url.split_inclusive(['?', '&', ' ']) {
        match part.split_once('=') {
            // A quoted value may continue after a space, so neither it nor what follows is shown.
            Some((name, value)) if secret(name) && value.starts_with('\'') => {
                shown.push_str(&format!("{name}={HIDDEN}"));
                break;
            }
            Some((name, value)) if secret(name) => {
                let end = value.chars().next_back().filter(|last| matches!(last, '?' | '&' | ' '));
                shown.push_str(&format!("{name}={HIDDEN}"));
                shown.extend(end);
            }
            _ => shown.push_str(part),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_ever_shown() {
        for (url, shown) in [
            ("postgres://me:hunter2@h:1/db", "postgres://me:***@h:1/db"),
            ("postgres://me:a@b/c@h/db", "postgres://me:***@h/db"),
            ("amqp://hunter2@h", "amqp://***@h"),
            (
                "postgres://h/db?user=me&password=hunter2&x=1",
                "postgres://h/db?user=me&password=***&x=1",
            ),
            ("host=h password=hunter2 user=me", "host=h password=*** user=me"),
            ("host=h password='hunter 2' user=me", "host=h password=***"),
            ("http://127.0.0.1:5556", "http://127.0.0.1:5556"),
        ] {
            let secret = SecretUrl::new(url);
            assert_eq!(secret.to_string(), shown);
            assert_eq!(format!("{secret:?}"), shown);
            assert_eq!(serde_json::to_value(&secret).unwrap(), shown);
            assert_eq!(secret.expose(), url);
        }
    }
}
