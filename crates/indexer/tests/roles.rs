//! Processes whose roles fail, whose services come late or restart, and whose readers leave.

#![cfg(test)]

mod database;
mod forwarder;
mod process;

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use database::{Database, sql};
use forwarder::Forwarder;
use indexer::{
    config::Config,
    health::Health,
    operations, role,
    shutdown::Shutdown,
    supervise::{Roles, Step},
};
use process::{Process, get, server, until};

/// A port of this machine that nothing listens on.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The same address on another port.
fn at_port(url: &str, port: u16) -> String {
    let (before, after) = url.rsplit_once('@').unwrap();
    let (_, path) = after.split_once('/').unwrap();
    format!("{before}@127.0.0.1:{port}/{path}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_waits_for_its_database_and_says_so() {
    let database = Database::new("waits");
    database.prints(&["migrate"]);
    let (late, operators) = (free_port(), format!("127.0.0.1:{}", free_port()));
    let mut command =
        database.program(&["project", "--wait", "60", "--metrics-listen", &operators]);
    command.env("DATABASE_URL", at_port(&database.url, late));
    let mut process = Process::start(command);
    until("it says what it waits for", || {
        get(&operators, "/readyz").is_some_and(|answer| answer.contains("waiting for PostgreSQL"))
    });
    assert!(get(&operators, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    assert!(get(&operators, "/readyz").unwrap().starts_with("HTTP/1.1 503"));

    let forwarder = Forwarder::start(late, &database.url, None);
    until("it is ready", || {
        get(&operators, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    });
    let metrics = get(&operators, "/metrics").unwrap();
    assert!(metrics.contains("xmtp_indexer_role_running{role=\"project\"} 1"), "{metrics}");
    assert!(metrics.contains("# HELP xmtp_indexer_role_running "), "{metrics}");

    // The database goes away: alive, but not ready.
    drop(forwarder);
    until("it is not ready", || get(&operators, "/readyz").unwrap().starts_with("HTTP/1.1 503"));
    assert!(get(&operators, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    process.terminate();
    let (code, said) = process.ended();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("waiting up to 60 s for PostgreSQL").count(), 1, "{said}");
}

#[test]
fn a_service_that_never_comes_is_named_in_the_error() {
    let database = Database::new("never");
    database.prints(&["migrate"]);
    let broker = format!("amqp://127.0.0.1:{}/%2f", free_port());
    for (arguments, service) in
        [(&["index", "--wait", "1"][..], "RabbitMQ"), (&["import", "-", "--wait", "1"], "RabbitMQ")]
    {
        let output = database.program(arguments).env("AMQP_URL", &broker).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        let wanted = format!("error: {service} did not answer within 1 s (--wait)");
        assert!(said.contains(&wanted) && said.contains("nothing listens"), "{said}");
    }
    let nowhere = format!("database.url=postgres://me@127.0.0.1:{}/d", free_port());
    let retry = ["parked", "retry", "--all", "--wait", "1", "--set", &nowhere];
    database.fails(&retry, 1, "PostgreSQL did not answer within 1 s");
}

/// The broker takes everything and confirms nothing; then the import is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_stopped_says_that_nothing_is_confirmed() {
    let database = Database::new("unconfirmed");
    database.prints(&["migrate"]);
    let broker = server("AMQP_URL");
    let port = free_port();
    // Enough to connect and to declare, not enough for a page.
    let forwarder = Forwarder::start(port, &broker, Some(16 << 10));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("envelopes.ndjson");
    let lines: String = (0..1_000)
        .map(|n| wire::json::to_line("/xmtp/0/m-x/proto", n, &[n as u8; 900]) + "\n")
        .collect();
    std::fs::write(&file, lines).unwrap();
    let mut command = database.program(&["import", file.to_str().unwrap()]);
    command.env("AMQP_URL", at_port(&broker, port)).stdout(Stdio::piped());
    let mut process = Process::start(command);
    until("the broker falls silent", || forwarder.is_silent());
    process.terminate();
    let (code, said) = process.ended();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("0 of 1000 envelopes are in the queue, confirmed"), "{said}");
    assert!(said.contains("error: interrupted"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_role_panics_again_and_again_is_not_alive() {
    let database = Database::new("panics");
    database.prints(&["migrate"]);
    let store = store::Store::connect(store::Options::new(&database.url)).await.unwrap();
    let (health, shutdown) = (Health::default(), Shutdown::new());
    let mut config = Config::defaults().unwrap();
    config.metrics.listen = Some(([127, 0, 0, 1], 0).into());
    let operators = operations::serve(&config, &health).unwrap().unwrap().to_string();
    let mut roles = Roles::new(health.clone());
    role::start_project(&mut roles, &store, &config).unwrap();
    roles.start(Step::Index, "panics", |_| async {
        // It works for a moment first.
        tokio::task::yield_now().await;
        if true {
            panic!("an invariant is broken");
        }
        anyhow::Ok(())
    });
    let began = Instant::now();
    let watching = tokio::spawn(async move { roles.until_stopped(&shutdown).await });
    let (mut restarting, mut dead) = (false, false);
    while !dead {
        let ask = |path: &'static str| {
            let operators = operators.clone();
            tokio::task::spawn_blocking(move || get(&operators, path).unwrap())
        };
        restarting |= ask("/readyz").await.unwrap().contains("being restarted");
        let alive = ask("/healthz").await.unwrap();
        dead = alive.starts_with("HTTP/1.1 503");
        assert_eq!(dead, alive.contains("an invariant is broken"), "{alive}");
        assert!(began.elapsed() < Duration::from_secs(30), "the process still looks alive");
    }
    assert!(restarting);
    let error = format!("{:#}", watching.await.unwrap().unwrap_err());
    assert!(error.contains("`panics`") && error.contains("an invariant is broken"), "{error}");
    store.close().await;
}

#[test]
fn a_reader_that_leaves_and_a_full_disk_are_no_panics() {
    let database = Database::new("leaves");
    database.prints(&["migrate"]);
    for arguments in
        [&["schema"][..], &["status"], &["parked", "list"], &["--print-config"], &["export"]]
    {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = database.program(arguments).stdout(writer).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("error"), "{arguments:?}: {said}");
    }
    for arguments in [&["schema"][..], &["status"], &["parked", "list"], &["--print-config"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = database.program(arguments).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("error: cannot write to stdout"), "{arguments:?}: {said}");
    }
    // Nor when stderr is full, too.
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let code = database.program(&["schema"]).stdout(full()).stderr(full()).status().unwrap().code();
    assert_eq!(code, Some(1));
}

/// Nobody reads what `up` prints, and its PostgreSQL is killed twice while it catches up.
#[test]
fn up_outlives_its_reader_and_restarts_of_postgresql_in_catch_up() {
    let folder = tempfile::Builder::new().prefix("my data ü.").tempdir().unwrap();
    process::open_to_all(folder.path());
    let data = folder.path().join("data");
    let mut command = Command::new(env!("CARGO_BIN_EXE_xmtp-indexer"));
    command.args([
        "up",
        "--devnet",
        "--devnet-rate",
        "50",
        "--listen",
        "localhost:0",
        "--data-dir",
    ]);
    let (reader, writer) = std::io::pipe().unwrap();
    command.arg(&data).env_clear().env("PATH", process::path()).stdout(writer);
    drop(reader);
    let mut process = Process::start(command);
    let mut url = String::new();
    let head = |url: &str| {
        let rows = Command::new("psql")
            .args([url, "-XAtqc", "select position from ground.head"])
            .output()
            .unwrap();
        String::from_utf8(rows.stdout).unwrap().trim().parse().unwrap_or(0_u64)
    };
    for limit in [1, 500] {
        until("it takes envelopes in", || {
            process.must_run();
            let running = embedded::running(&data).unwrap();
            url = running.and_then(|running| running.database_url).unwrap_or_default();
            !url.is_empty() && head(&url) >= limit
        });
        process::kill_postgres(&data);
    }
    until("it has caught up", || {
        process.must_run();
        head(&url) > 3_300
    });
    let http = embedded::running(&data).unwrap().unwrap().http_url.unwrap();
    let http = http.trim_start_matches("http://");
    until("it is ready", || get(http, "/readyz").is_some_and(|answer| answer.contains("ready\"")));
    assert!(get(http, "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    until("projections have caught up", || {
        sql(&url, "select count(*) > 3000 from derived.envelopes") == "t"
    });
    process.terminate();
    let (code, said) = process.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
