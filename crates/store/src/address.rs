//! Addresses of databases, as libpq understands them.

use std::{collections::BTreeMap, net::IpAddr, str::FromStr as _};

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::error::{Error, Result};

/// Reads `postgres://…` and `postgresql://…` addresses and `key=value` pairs. What an address leaves out comes from libpq's
/// environment variables (`PGHOST`, `PGPASSWORD`, …) and password file, and then from libpq's defaults.
///
/// Errors do not repeat values: part of a password that is not escaped can be read as any of them.
pub(crate) fn parse(text: &str) -> Result<PgConnectOptions> {
    let text = text.trim();
    let uri = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"));
    let settings = match uri {
        Some(uri) => parts(uri)?,
        None if text.split_once('=').is_none_or(|(key, _)| key.contains("://")) => {
            return Err(Error::Address(
                "an address begins with postgres:// or postgresql://, or is a list of key=value pairs"
                    .into(),
            ));
        }
        None => pairs(text)?,
    };
    // As in libpq, the last value of a key counts, and an empty value is the same as none.
    let mut settings = BTreeMap::from_iter(settings);
    settings.retain(|_, value| !value.is_empty());
    let mut query = Vec::new();
    for (key, value) in &settings {
        check(key, value)?;
        if !IGNORED.contains(&key.as_str()) {
            query.push(format!("{key}={}", encoded(value)));
        }
    }
    let url = format!("postgres:///?{}", query.join("&"));
    let options =
        PgConnectOptions::from_str(&url).map_err(|error| Error::Address(error.to_string()))?;
    with_trust(options, settings.remove("sslrootcert"))
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

fn check(key: &str, value: &str) -> Result<()> {
    let error = match key {
        // The folder of a socket may have a comma in its name.
        "host" if value.starts_with('/') && !value.contains(",/") => return Ok(()),
        "host" | "hostaddr" | "port" if value.contains(',') => {
            "only one host is supported: name the one to connect to".into()
        }
        "port" if value.parse::<u16>().is_err() => "the port is no number up to 65535".into(),
        "hostaddr" if value.parse::<IpAddr>().is_err() => "`hostaddr` is no IP address".into(),
        "sslmode" if PgSslMode::from_str(value).is_err() => {
            "`sslmode` is none of disable, allow, prefer, require, verify-ca, verify-full".into()
        }
        _ if KNOWN.contains(&key) || IGNORED.contains(&key) => return Ok(()),
        _ if key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) => {
            format!("there is no setting `{key}`; known are: {}", KNOWN.join(", "))
        }
        _ => format!("a setting has an impossible name; {ESCAPES}"),
    };
    Err(Error::Address(error))
}

/// Sets what is verified of the server's certificate as libpq does, where the driver differs.
#[expect(
    clippy::disallowed_methods,
    reason = "a variable of libpq, which the driver reads as well"
)]
fn with_trust(options: PgConnectOptions, root: Option<String>) -> Result<PgConnectOptions> {
    // libpq ignores `sslmode` on a local socket. The driver would ask for TLS there, and fail where it is required.
    if options.get_socket().is_some() || options.get_host().starts_with('/') {
        return Ok(options.ssl_mode(PgSslMode::Disable));
    }
    let verifies = matches!(
        options.get_ssl_mode(),
        PgSslMode::Require | PgSslMode::VerifyCa | PgSslMode::VerifyFull
    );
    let inherited = || std::env::var("PGSSLROOTCERT").ok().filter(|root| !root.is_empty());
    let Some(root) = root.or_else(inherited) else { return Ok(options) };
    if root == "system" {
        return Ok(options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert_from_pem(Vec::new()));
    }
    if !verifies {
        return Ok(options);
    }
    // The driver's error does not name the file.
    if let Err(error) = std::fs::File::open(&root) {
        return Err(Error::Address(format!("sslrootcert: cannot read {root}: {error}")));
    }
    // `require` verifies the certificate as well when an authority is named. The driver would not.
    Ok(match options.get_ssl_mode() {
        PgSslMode::Require => options.ssl_mode(PgSslMode::VerifyCa),
        _ => options,
    })
}

/// How to write a value that would otherwise be split.
const ESCAPES: &str = "in an address `%`, `/`, `?`, `@`, `&` and `=` of a password are written %25, %2F, %3F, %40, %26 and %3D; \
     in key=value pairs a value with spaces stands in single quotes";

/// The settings in `user:password@host:port/database?key=value&…`. Each part may be missing, and is percent-encoded.
fn parts(uri: &str) -> Result<Vec<(String, String)>> {
    let broken = || Error::Address(ESCAPES.into());
    let (place, query) = uri.split_once('?').unwrap_or((uri, ""));
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    // This is the rest of a password, which would be taken for a database or a setting, and be shown in errors.
    if database.contains('@') || (!place.contains(['@', '/']) && query.contains('@')) {
        return Err(broken());
    }
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    // An IPv6 address has colons of its own, so it stands in brackets.
    let (host, port) = match host.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
        None => host.split_once(':').unwrap_or((host, "")),
    };
    let place = [
        ("user", user),
        ("password", password),
        ("host", host),
        ("port", port),
        ("dbname", database),
    ];
    let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| match pair {
        // libpq accepts this one of JDBC.
        "ssl=true" => Some(("sslmode", "require")),
        pair => pair.split_once('='),
    });
    let all = place.into_iter().map(Some).chain(query).map(|pair| {
        let (key, value) = pair?;
        Some((decoded(key)?, decoded(value)?))
    });
    all.collect::<Option<_>>().ok_or_else(broken)
}

/// Decodes percent-encoding. As in libpq, a plus sign does not stand for a space.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let digits =
            part.get(..2).filter(|two| two.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(part.bytes().skip(2));
    }
    String::from_utf8(bytes).ok()
}

fn encoded(text: &str) -> String {
    let escape = |byte: u8| match byte {
        plain if plain.is_ascii_alphanumeric() => char::from(plain).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// `key = 'value'` pairs; a quote or a backslash in a value is escaped by a backslash.
fn pairs(text: &str) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once('=')
            .ok_or_else(|| Error::Address(format!("not a list of key=value pairs; {ESCAPES}")))?;
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
        None if options.get_host().contains(':') => {
            format!("[{}]:{}/{database}", options.get_host(), options.get_port())
        }
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
            ("postgres://u@%2Fmy%20data%2C%20%C3%BC%2Fsock:6001/x", "/my data, ü/sock:6001/x"),
            ("postgres://u:p@/x?host=/tmp&port=6001", "/tmp:6001/x"),
            ("postgres://u:p#@h@h:6000?dbname=a+b", "h:6000/a+b"),
            ("postgres://%2Ftmp/x?host=h&user=u%40v&ssl=true", "h:5432/x"),
            ("host=/tmp port=6001 user=u dbname='a b\\'c'", "/tmp:6001/a b'c"),
            ("host=::1 user=me options='-c search_path=a'", "[::1]:5432/me"),
            ("host=h port='' user=me password='a://b?c=d'", "h:5432/me"),
        ] {
            assert_eq!(target(&parse(text).unwrap()), wanted, "{text}");
        }
        for (options, wanted) in [
            ("postgres://u@h/x?options=-c%20work_mem%3D8MB&sslmode=require", "-c work_mem=8MB"),
            ("postgres://u@h/x?options=-c%20search_path=a%5C%20+", "-c search_path=a\\ +"),
            (
                "host=h options='-c work_mem=8MB -c search_path=a\\\\ b'",
                "-c work_mem=8MB -c search_path=a\\ b",
            ),
        ] {
            assert_eq!(parse(options).unwrap().get_options(), Some(wanted), "{options}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        for (text, word) in [
            ("mysql://u@h/x", "postgres://"),
            ("mysql://u@h/x?y=z", "postgres://"),
            ("somewhere", "postgres://"),
            ("postgres://u@h/x?sslmod=require", "sslmod"),
            ("postgres://u@h/x?sslmode", "%3D"),
            ("postgres://u@h/x?sslmode=yes", "verify-full"),
            ("postgres://u@a:1,b:2/x", "one host"),
            ("host=/tmp,/var/run user=u", "one host"),
            ("postgres://u@::1/x", "port"),
            ("host=h hostaddr=g", "IP address"),
            ("host=h port=no", "port"),
            ("host='h", "no end"),
            ("host=h nonsense=1", "nonsense"),
            ("host=h sslmode=verify-ca sslrootcert=/absent", "/absent"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_that_is_not_escaped_is_refused_and_not_shown() {
        for text in [
            "postgres://u:12/secret@h/x",
            "postgres://u:12?secret@h/x",
            "postgres://u:12?sec=ret@h/x",
            "postgres://u:secret/34@h/x",
            "postgres://u:secret/34?56@h/x",
            "postgres://u:%secret@h/x",
            "postgres://u@h/x?password=%secret",
            "host=h password=12 secret user=u",
            "host=h password=12 secret",
            "password='12'secret",
        ] {
            let error = format!("{0} {0:?}", parse(text).unwrap_err());
            assert!(!error.contains("sec") && !error.contains("ret"), "{text}: {error}");
        }
    }

    #[test]
    fn trust_is_that_of_libpq() {
        let mode = |text: &str| format!("{:?}", parse(text).unwrap().get_ssl_mode());
        let file = std::env::current_exe().unwrap().display().to_string();
        for (text, wanted) in [
            ("host=/tmp sslmode=verify-full sslrootcert=/absent", "Disable"),
            ("host=h sslmode=prefer sslrootcert=/absent", "Prefer"),
            ("host=h sslmode=require sslrootcert=system", "VerifyFull"),
            ("postgres://h?ssl=true", "Require"),
        ] {
            assert_eq!(mode(text), wanted, "{text}");
        }
        for (given, wanted) in
            [("require", "VerifyCa"), ("verify-ca", "VerifyCa"), ("verify-full", "VerifyFull")]
        {
            assert_eq!(mode(&format!("host=h sslmode={given} sslrootcert='{file}'")), wanted);
        }
    }
}
