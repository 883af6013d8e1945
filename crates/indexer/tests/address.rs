//! Every kind of address that libpq understands, on a real PostgreSQL with and without TLS. It needs PostgreSQL on the machine,
//! and nothing running.

#![cfg(test)]

use std::{
    fs,
    net::Ipv6Addr,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use embedded::{Options, Services, Stop, memory_bytes};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
};
use store::{Class, Error, Store};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

const IS_ENCRYPTED: &str = "select ssl::text from pg_stat_ssl where pid = pg_backend_pid()";
const LIMIT: Duration = Duration::from_secs(60);

/// A password that means something else wherever it is not escaped.
const ODD: &str = r"p@s:s/w?o#r'd\ %+&=1";
const ODD_ENCODED: &str = "p%40s%3As%2Fw%3Fo%23r%27d%5C%20%25+%26%3D1";
const ODD_QUOTED: &str = r"'p@s:s/w?o#r\'d\\ %+&=1'";

#[tokio::test(flavor = "multi_thread")]
async fn every_address_that_libpq_understands_reaches_the_database() {
    let folder = tempfile::tempdir().unwrap();
    // Temporary folders are closed; the user who runs PostgreSQL for root must get through.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let data = folder.path().join("data");

    let services = start(&data, Vec::new()).await;
    let server = Server::of(&services);
    tls_is_used_only_where_the_server_has_it(&server).await;
    sockets(&server).await;
    addresses_of_ipv6(&server).await;
    settings_and_quotes(&server).await;
    passwords_come_from_the_password_file(&server, folder.path());
    assert!(services.stop(Stop::Graceful).await);
    drop(services);
    errors_name_the_target_and_no_secret(&server).await;

    let authority = Authority::new();
    let files = Files::write(&data, &authority);
    let services = start(&data, files.settings()).await;
    // It kept its port and password.
    assert_eq!(Server::of(&services).tcp("localhost", ""), server.tcp("localhost", ""));
    tls_without_verification(&server).await;
    a_self_signed_certificate_is_verified(&server, &files).await;
    certificates_of_clients(&server, &files, &authority).await;

    files.install(&authority.server.0, &authority.server.1);
    value(&server.tcp("localhost", ""), "select pg_reload_conf()::text").await.unwrap();
    certificates_of_an_authority(&server, &files).await;
    assert!(services.stop(Stop::Graceful).await);
}

async fn tls_is_used_only_where_the_server_has_it(server: &Server) {
    for mode in ["disable", "allow", "prefer"] {
        let url = server.tcp("127.0.0.1", &format!("?sslmode={mode}"));
        assert_eq!(value(&url, IS_ENCRYPTED).await.unwrap(), "false", "{mode}");
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = server.tcp("127.0.0.1", &format!("?sslmode={mode}"));
        server.unreachable(&url, "127.0.0.1", "server does not support TLS").await;
    }
}

async fn sockets(server: &Server) {
    let Server { port, password, socket, .. } = server;
    let encoded = socket.replace('/', "%2F");
    for address in [
        format!("postgres://postgres:{password}@{encoded}:{port}/xmtp_indexer"),
        format!("postgresql://postgres:{password}@/xmtp_indexer?host={socket}&port={port}"),
        format!(
            "postgres:///?host={encoded}&port={port}&user=postgres&password={password}&dbname=xmtp_indexer"
        ),
        format!("host={socket} port={port} user=postgres password={password} dbname=xmtp_indexer"),
        // libpq does not care about TLS on a socket.
        format!(
            "host='{socket}' port={port} user=postgres password={password} dbname=xmtp_indexer sslmode=verify-full"
        ),
        format!("postgres://postgres:{password}@{encoded}:{port}/xmtp_indexer?sslmode=require"),
    ] {
        let by = "select coalesce(client_addr::text, 'socket') from pg_stat_activity where pid = pg_backend_pid()";
        assert_eq!(value(&address, by).await.unwrap(), "socket", "{address}");
    }
    let absent = format!("host={socket}/absent port={port} user=postgres password={password}");
    server.unreachable(&absent, &format!("{socket}/absent:{port}"), "No such file").await;
}

/// The embedded server listens on 127.0.0.1 only, so the test forwards from `[::1]`.
async fn addresses_of_ipv6(server: &Server) {
    let Some(port) = forward(server.port).await else {
        eprintln!("this machine has no IPv6: not tested");
        return;
    };
    let password = &server.password;
    for address in [
        format!("postgres://postgres:{password}@[::1]:{port}/xmtp_indexer"),
        format!("postgres://postgres:{password}@/xmtp_indexer?hostaddr=::1&port={port}"),
        format!("host=::1 port={port} user=postgres password={password} dbname=xmtp_indexer"),
        format!("hostaddr=::1 port={port} user=postgres password={password} dbname=xmtp_indexer"),
    ] {
        assert_eq!(value(&address, "select 'yes'").await.unwrap(), "yes", "{address}");
    }
    let wrong = format!("postgres://postgres:{password}@[::1]:1/xmtp_indexer");
    server.unreachable(&wrong, "[::1]:1/xmtp_indexer", "refused").await;
}

async fn settings_and_quotes(server: &Server) {
    let Server { port, password, .. } = server;
    let pairs = format!("host=127.0.0.1 port={port} user=postgres password={password}");
    let work_mem = "select current_setting('work_mem')";
    for address in [
        server.tcp("127.0.0.1", "?options=-c%20work_mem%3D9MB"),
        server.tcp("127.0.0.1", "?connect_timeout=5&options=-cwork_mem%3D9MB&sslmode=prefer"),
        format!("{pairs} dbname=xmtp_indexer options='-c work_mem=9MB'"),
        format!("{pairs} dbname = 'xmtp_indexer' options = '--work-mem=9MB -c geqo=off'"),
    ] {
        assert_eq!(value(&address, work_mem).await.unwrap(), "9MB", "{address}");
    }
    let spaced = format!(r"{pairs} dbname=xmtp_indexer options='-c test.spaced=a\\ b'");
    assert_eq!(value(&spaced, "select current_setting('test.spaced')").await.unwrap(), "a b");

    let admin = server.tcp("127.0.0.1", "");
    execute(&admin, r#"create database "it's a \ base" template template0"#).await;
    execute(
        &admin,
        &format!("create role \"o'dd @\" login password '{}'", ODD.replace('\'', "''")),
    )
    .await;
    for address in [
        format!("postgres://o'dd%20%40:{ODD_ENCODED}@127.0.0.1:{port}/it's%20a%20%5C%20base"),
        format!(
            "postgres://127.0.0.1:{port}?user=o'dd%20%40&password={ODD_ENCODED}&dbname=it's%20a%20%5C%20base"
        ),
        format!(
            r"host=127.0.0.1 port={port} user='o\'dd @' password={ODD_QUOTED} dbname='it\'s a \\ base'"
        ),
    ] {
        let who = "select current_user || ' in ' || current_database()";
        assert_eq!(value(&address, who).await.unwrap(), r"o'dd @ in it's a \ base", "{address}");
    }
}

/// Runs the whole program, since the environment names the file.
fn passwords_come_from_the_password_file(server: &Server, folder: &Path) {
    let file = folder.join("passwords");
    let line = format!("127.0.0.1:{}:xmtp_indexer:postgres:{}\n", server.port, server.password);
    fs::write(&file, format!("*:1:*:*:wrong\n{line}")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let address = format!("postgres://postgres@127.0.0.1:{}/xmtp_indexer", server.port);
    program(&address, "PGPASSFILE", &file);
}

async fn errors_name_the_target_and_no_secret(server: &Server) {
    for address in [
        server.tcp("127.0.0.1", ""),
        format!(
            "host=127.0.0.1 port={} user=postgres password={} dbname=xmtp_indexer",
            server.port, server.password
        ),
    ] {
        server.unreachable(&address, "127.0.0.1", "refused").await;
    }
}

async fn tls_without_verification(server: &Server) {
    for (mode, encrypted) in [
        ("require", "true"),
        ("prefer", "true"),
        // The driver does not try TLS where it may do without.
        ("allow", "false"),
        ("disable", "false"),
    ] {
        let url = server.tcp("127.0.0.1", &format!("?sslmode={mode}"));
        assert_eq!(value(&url, IS_ENCRYPTED).await.unwrap(), encrypted, "{mode}");
    }
    let default = server.tcp("127.0.0.1", "");
    assert_eq!(value(&default, IS_ENCRYPTED).await.unwrap(), "true");
    // The server refuses a wrong password, through TLS.
    let wrong = default.replace(&server.password, "wrong-secret");
    let error = value(&format!("{wrong}?sslmode=require"), IS_ENCRYPTED).await.unwrap_err();
    assert_eq!(error.class(), Class::Fatal);
    assert!(error.to_string().contains("password authentication failed"), "{error}");
    assert!(!format!("{error:?}").contains("wrong-secret"), "{error:?}");
}

async fn a_self_signed_certificate_is_verified(server: &Server, files: &Files) {
    let unknown = "UnknownIssuer";
    let other = "not valid for name";
    let root = files.self_signed.display();
    let trusted = format!("&sslrootcert={root}");
    for (host, settings) in [
        ("localhost", format!("verify-full{trusted}")),
        ("localhost", format!("verify-ca{trusted}")),
        ("127.0.0.1", format!("verify-ca{trusted}")),
        ("127.0.0.1", format!("require{trusted}")),
    ] {
        let url = server.tcp(host, &format!("?sslmode={settings}"));
        assert_eq!(value(&url, IS_ENCRYPTED).await.unwrap(), "true", "{host} {settings}");
    }
    for (host, settings, word) in [
        ("localhost", "verify-full".to_owned(), unknown),
        ("localhost", "verify-full&sslrootcert=system".to_owned(), unknown),
        ("127.0.0.1", "verify-ca".to_owned(), unknown),
        ("127.0.0.1", format!("verify-full{trusted}"), other),
        // Another authority than the one that is named.
        ("localhost", format!("verify-full&sslrootcert={}", files.authority.display()), unknown),
        ("localhost", format!("require&sslrootcert={}", files.authority.display()), unknown),
    ] {
        let url = server.tcp(host, &format!("?sslmode={settings}"));
        server.unreachable(&url, host, word).await;
    }
    let absent = server.tcp("localhost", "?sslmode=verify-full&sslrootcert=/absent.crt");
    let error = value(&absent, IS_ENCRYPTED).await.unwrap_err();
    assert!(matches!(error, Error::Address(_)) && error.class() == Class::Fatal);
    assert!(error.to_string().contains("/absent.crt: No such file"), "{error}");

    let pairs = format!(
        "host=localhost port={} user=postgres password={} dbname=xmtp_indexer",
        server.port, server.password
    );
    let pairs = format!("{pairs} sslmode='verify-full' sslrootcert='{root}'");
    assert_eq!(value(&pairs, IS_ENCRYPTED).await.unwrap(), "true");
    if let Some(port) = forward(server.port).await {
        let url = format!(
            "postgres://postgres:{}@[::1]:{port}/xmtp_indexer?sslmode=verify-full{trusted}",
            server.password
        );
        assert_eq!(value(&url, IS_ENCRYPTED).await.unwrap(), "true");
    }
}

async fn certificates_of_clients(server: &Server, files: &Files, authority: &Authority) {
    let (certificate, key) = &authority.client;
    let (certificate, key) = (
        files.beside("client.crt", &certificate.pem()),
        files.beside("client.key", &key.serialize_pem()),
    );
    let shown =
        format!("?sslmode=require&sslcert={}&sslkey={}", certificate.display(), key.display());
    let name = "select client_dn from pg_stat_ssl where pid = pg_backend_pid()";
    let url = server.tcp("127.0.0.1", &shown);
    assert_eq!(value(&url, name).await.unwrap(), "/CN=client");
}

async fn certificates_of_an_authority(server: &Server, files: &Files) {
    let root = files.authority.display();
    let url = server.tcp("localhost", &format!("?sslmode=verify-full&sslrootcert={root}"));
    let since = Instant::now();
    while let Err(error) = value(&url, IS_ENCRYPTED).await {
        assert!(since.elapsed() < LIMIT, "the new certificate is not used: {error}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Without a file, the system's roots are trusted. This variable replaces them.
    program(&server.tcp("localhost", "?sslmode=verify-full"), "SSL_CERT_FILE", &files.authority);
    program(&server.tcp("localhost", "?sslrootcert=system"), "SSL_CERT_FILE", &files.authority);
}

/// Runs the program on this address, with one more variable.
fn program(address: &str, variable: &str, value: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xmtp-indexer"));
    command.arg("migrate").current_dir(std::env::temp_dir()).env_clear();
    let output = command.env("DATABASE_URL", address).env(variable, value).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{variable}: {said}");
}

/// Where the embedded server is.
struct Server {
    port: u16,
    password: String,
    socket: String,
}

impl Server {
    fn of(services: &Services) -> Self {
        let url = services.postgres_url().unwrap();
        let (login, place) = url.split_once('@').unwrap();
        let password = login.rsplit_once(':').unwrap().1.to_owned();
        let port = place.strip_prefix("127.0.0.1:").unwrap().split_once('/').unwrap().0;
        let socket = services.data_dir().join("postgres/sock").display().to_string();
        Self { port: port.parse().unwrap(), password, socket }
    }

    fn tcp(&self, host: &str, settings: &str) -> String {
        format!("postgres://postgres:{}@{host}:{}/xmtp_indexer{settings}", self.password, self.port)
    }

    /// Asserts that there is no connection for a reason with this word in it, which callers retry, and that no secret is shown.
    async fn unreachable(&self, address: &str, place: &str, word: &str) {
        let error = value(address, "select ''").await.unwrap_err();
        let Error::Unreachable { target, reason } = &error else { panic!("{error}") };
        assert!(target.starts_with(place), "{target}");
        assert!(reason.contains(word), "{reason}");
        assert_eq!(error.class(), Class::Retry);
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(shown.contains(place), "{shown}");
            assert!(!shown.contains(&self.password), "{shown}");
        }
    }
}

async fn start(data: &Path, postgres_settings: Vec<(&'static str, String)>) -> Services {
    let options = Options {
        rabbitmq: false,
        memory_bytes: memory_bytes().min(1 << 30),
        postgres_settings,
        ..Options::default()
    };
    Services::start(data, options, |_| {}).await.unwrap()
}

/// The answer to one question, on a connection of the pool that this address gives.
async fn value(address: &str, statement: &str) -> store::Result<String> {
    let store =
        Store::connect(store::Options { max_connections: 1, ..store::Options::new(address) })
            .await?;
    let mut connection = store.connection().await?;
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    let found = sqlx::query_scalar(statement).fetch_one(&mut *connection).await?;
    drop(connection);
    store.close().await;
    Ok(found)
}

async fn execute(address: &str, statement: &str) {
    let store = Store::connect(store::Options::new(address)).await.unwrap();
    let mut connection = store.connection().await.unwrap();
    let statement = sqlx::AssertSqlSafe(statement.to_owned());
    sqlx::raw_sql(statement).execute(&mut *connection).await.unwrap();
}

/// Opens a port on `[::1]` that forwards to this port of 127.0.0.1 until the test ends. None on a machine without IPv6.
async fn forward(to: u16) -> Option<u16> {
    let listener = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.ok()?;
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", to)).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    Some(port)
}

/// An authority, and what it signed.
struct Authority {
    pem: String,
    server: (Certificate, KeyPair),
    client: (Certificate, KeyPair),
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let sign = |params: CertificateParams| {
            let key = KeyPair::generate().unwrap();
            (params.signed_by(&key, &issuer).unwrap(), key)
        };
        let server = sign(named());
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "client");
        let client = sign(params);
        Self { pem: issuer.pem(), server, client }
    }
}

/// For `localhost` and `::1`, not for 127.0.0.1.
fn named() -> CertificateParams {
    CertificateParams::new(["localhost".to_owned(), "::1".to_owned()]).unwrap()
}

/// The certificates: the server's own in its folder, those that clients need beside the data.
struct Files {
    data: PathBuf,
    authority: PathBuf,
    self_signed: PathBuf,
}

impl Files {
    /// The server begins with a certificate that is signed by itself.
    fn write(data: &Path, authority: &Authority) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = named().self_signed(&key).unwrap();
        let mut files =
            Files { data: data.to_owned(), authority: PathBuf::new(), self_signed: PathBuf::new() };
        files.authority = files.beside("authority.crt", &authority.pem);
        files.self_signed = files.beside("self-signed.crt", &certificate.pem());
        files.of_server("authority.crt", &authority.pem);
        files.install(&certificate, &key);
        files
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let file = |name: &str| self.data.join("postgres").join(name).display().to_string();
        vec![
            ("ssl", "on".to_owned()),
            ("ssl_cert_file", file("server.crt")),
            ("ssl_key_file", file("server.key")),
            ("ssl_ca_file", file("authority.crt")),
        ]
    }

    fn install(&self, certificate: &Certificate, key: &KeyPair) {
        self.of_server("server.crt", &certificate.pem());
        self.of_server("server.key", &key.serialize_pem());
    }

    fn beside(&self, name: &str, text: &str) -> PathBuf {
        let path = self.data.with_file_name(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// PostgreSQL takes no key that others could read. It runs as the owner of its folder.
    fn of_server(&self, name: &str, text: &str) {
        let folder = self.data.join("postgres");
        let owner = fs::metadata(&folder).unwrap();
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}
