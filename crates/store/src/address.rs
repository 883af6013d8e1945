//! Addresses of databases, as libpq understands them.

use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::error::{Error, Result};

/// Reads `postgres://…` and `postgresql://…` addresses and `key=value` pairs. What an address leaves out comes from libpq's
/// environment variables (`PGHOST`, `PGPASSWORD`, …) and password file, and then from libpq's defaults.
pub(crate) fn parse(text: &str) -> Result<PgConnectOptions> {
    let text = text.trim();
    if text.starts_with("postgres://") || text.starts_with("postgresql://") {
        let url = without_ignored(text)?;
        return PgConnectOptions::from_str(&url).map_err(|error| Error::Address(error.to_string()));
    }
    if text.contains("://") || !text.contains('=') {
        return Err(Error::Address(
            "an address begins with postgres:// or postgresql://, or is a list of key=value pairs"
                .into(),
        ));
    }
    pairs(text)?
        .into_iter()
        .try_fold(PgConnectOptions::new(), |options, (key, value)| set(options, &key, &value))
}

/// Settings of libpq that this driver has no use for, and that change nothing that matters here.
const IGNORED: &[&str] = &[
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "gssencmode",
    "krbsrvname",
    "client_encoding",
    "fallback_application_name",
    "sslcompression",
    "sslsni",
    "channel_binding",
    "target_session_attrs",
    "load_balance_hosts",
    // Of the driver itself; ours is set in database.rs.
    "statement-cache-capacity",
];

/// The address without the settings that are ignored. Empty hosts (`postgres:///database`) are the local socket for libpq.
fn without_ignored(text: &str) -> Result<String> {
    let Some((head, query)) = text.split_once('?') else { return Ok(text.to_owned()) };
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        if IGNORED.contains(&key) {
            continue;
        }
        if !KNOWN.contains(&key) {
            return Err(unknown(key));
        }
        kept.push(pair);
    }
    Ok(if kept.is_empty() { head.to_owned() } else { format!("{head}?{}", kept.join("&")) })
}

const KNOWN: &[&str] = &[
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "options",
    "application_name",
];

fn unknown(key: &str) -> Error {
    Error::Address(format!("there is no setting `{key}`; known are: {}", KNOWN.join(", ")))
}

fn set(options: PgConnectOptions, key: &str, value: &str) -> Result<PgConnectOptions> {
    let broken = |what: &str| Error::Address(format!("`{value}` is no {what}"));
    Ok(match key {
        "host" if value.starts_with('/') => options.socket(value),
        "host" | "hostaddr" => options.host(value),
        "port" => options.port(value.parse().map_err(|_| broken("port"))?),
        "dbname" => options.database(value),
        "user" => options.username(value),
        "password" => options.password(value),
        "sslmode" => options.ssl_mode(PgSslMode::from_str(value).map_err(|_| broken("sslmode"))?),
        "sslrootcert" => options.ssl_root_cert(value),
        "sslcert" => options.ssl_client_cert(value),
        "sslkey" => options.ssl_client_key(value),
        "application_name" => options.application_name(value),
        // As they stand: a list of `-c name=value`.
        "options" => with_options(options, value)?,
        key if IGNORED.contains(&key) => options,
        key => return Err(unknown(key)),
    })
}

/// `-c name=value` settings of a session.
fn with_options(options: PgConnectOptions, value: &str) -> Result<PgConnectOptions> {
    let mut settings = Vec::new();
    let mut words = value.split_whitespace();
    while let Some(word) = words.next() {
        let setting = match word {
            "-c" => words.next(),
            word => word.strip_prefix("-c").or_else(|| word.strip_prefix("--")),
        };
        let pair = setting.and_then(|setting| setting.split_once('='));
        settings.push(pair.ok_or_else(|| {
            Error::Address(format!("options: `{word}` is not of the form `-c name=value`"))
        })?);
    }
    Ok(options.options(settings))
}

/// `key = 'value'` pairs; a quote or a backslash in a value is escaped by a backslash.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once('=')
            .ok_or_else(|| Error::Address(format!("`{rest}` is not of the form key=value")))?;
        let (value, after) = value(after.trim_start())?;
        found.push((key.trim().to_owned(), value));
        rest = after.trim_start();
    }
    Ok(found)
}

fn value(text: &str) -> Result<(String, &str)> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, body.get(at + 1..).unwrap_or_default())),
            space if !quoted && space.is_whitespace() => {
                return Ok((value, body.get(at..).unwrap_or_default()));
            }
            other => value.push(other),
        }
    }
    if quoted {
        return Err(Error::Address("a quoted value has no end".into()));
    }
    Ok((value, ""))
}

/// Host, port and database, without credentials.
pub(crate) fn target(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    match options.get_socket() {
        Some(socket) => format!("{}:{}/{database}", socket.display(), options.get_port()),
        None => format!("{}:{}/{database}", options.get_host(), options.get_port()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_libpq_is_read() {
        for (text, wanted) in [
            ("postgres://u:p@db.example:6000/x", "db.example:6000/x"),
            ("postgresql://u@[::1]/x?sslmode=verify-full&connect_timeout=5", "[::1]:5432/x"),
            ("postgres://u@%2Fvar%2Frun%2Fpostgresql/x", "/var/run/postgresql:5432/x"),
            ("host=/tmp port=6001 user=u dbname='a b\\'c'", "/tmp:6001/a b'c"),
            ("host=::1 user=me options='-c search_path=a'", "::1:5432/me"),
        ] {
            assert_eq!(target(&parse(text).unwrap()), wanted, "{text}");
        }
        let options =
            parse("postgres://u@h/x?options=-c%20work_mem%3D8MB&sslmode=require").unwrap();
        assert_eq!(options.get_options(), Some("-c work_mem=8MB"));
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, word) in [
            ("mysql://u@h/x", "postgres://"),
            ("somewhere", "postgres://"),
            ("postgres://u@h/x?sslmod=require", "sslmod"),
            ("host=h port=no", "port"),
            ("host='h", "no end"),
            ("host=h nonsense=1", "nonsense"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
