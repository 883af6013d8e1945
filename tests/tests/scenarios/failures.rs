//! What goes wrong at a start: one clear sentence, and the right exit code.

use std::{
    io::{self, Write as _},
    net::TcpListener,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};
use tests::{
    folder::Folder,
    graphql::Graph,
    patience::{LONG, until},
    program::{binary, run},
    scratch::{Scratch, server},
    tables::Database,
    world::{announced, start_up},
};

/// A failed start that says something on one line. Gives the line.
fn refused(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "one sentence: {said}");
    assert!(!said.contains("panicked") && !said.contains("stack backtrace"), "{said}");
    errors[0].to_owned()
}

/// The same, and the line has all of these parts.
fn refused_with(output: &Output, code: i32, parts: &[&str]) {
    let said = refused(output, code);
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[test]
fn wrong_usage_and_wrong_settings_end_with_2() {
    let folder = Folder::new();
    let fails = |arguments: &[&str], variables: &[(&str, &str)], parts: &[&str]| {
        refused_with(&run(folder.path(), arguments, variables), 2, parts);
    };
    fails(&["status", "--set", "htp.listen=127.0.0.1:1"], &[], &["htp.listen", "`http.listen`"]);
    fails(
        &["status"],
        &[("XMTP_INDEXER__QUEUE__PREFETC", "3")],
        &["`XMTP_INDEXER__QUEUE__PREFETCH`"],
    );
    fails(&["up", "--listen", "0.0.0.0:8080"], &[], &["http.listen", "http.public"]);
    fails(&["up", "--listen", "nowhere"], &[], &["http.listen"]);
    fails(&["up"], &[("DATABASE_URL", "mysql://localhost/x")], &["database.url", "postgres://"]);
    fails(&["up", "--source", "message-api"], &[], &["KIND=URL"]);
    fails(&["up", "--source", "carrier-pigeon=http://127.0.0.1:1"], &[], &["carrier-pigeon"]);
    fails(&["pull"], &[], &["--source"]);
    fails(&["status"], &[], &["DATABASE_URL", "up"]);
    fails(&["status"], &[("RUST_LOG", "x=y=z")], &["RUST_LOG"]);
    fails(&[], &[], &["--help"]);
    fails(&["status", "--config", "nowhere.toml"], &[], &["nowhere.toml"]);
    folder.write("xmtp-indexer.toml", "[project]\npage_envelops = 7\n");
    fails(&["status"], &[], &["xmtp-indexer.toml", "`project.page_envelopes`"]);
    folder.write("xmtp-indexer.toml", "[project\n");
    fails(&["status"], &[], &["xmtp-indexer.toml"]);
    // The parser of the command line has its own words, and the same code.
    let output = run(Folder::new().path(), &["fly"], &[]);
    assert_eq!(output.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_used_is_named_without_its_password() {
    let folder = Folder::new();
    let scratch = Scratch::new("failures_database").await;
    let fails = |url: &str, parts: &[&str]| {
        let up = ["up", "--listen", "127.0.0.1:0", "--wait", "0"];
        for command in [["migrate", "--wait", "0"].as_slice(), &["status"], &up] {
            let output = run(
                folder.path(),
                command,
                &[("DATABASE_URL", url), ("AMQP_URL", "amqp://127.0.0.1:1")],
            );
            refused_with(&output, 1, parts);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!said.contains("hunter2"), "{said}");
        }
    };
    let (scheme, rest) = scratch.url.split_once("://").unwrap();
    let host = rest.split_once('@').map_or(rest, |(_, host)| host);
    // A wrong user, nobody there, and no such database.
    fails(&format!("{scheme}://somebody:hunter2@{host}"), &["somebody"]);
    fails(&format!("{scheme}://somebody:hunter2@127.0.0.1:1/x"), &["127.0.0.1:1"]);
    fails(&scratch.url.replace(scratch.name(), "no_such_database"), &["no_such_database"]);
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_another_version_is_left_alone() {
    let folder = Folder::new();
    let scratch = Scratch::new("failures_version").await;
    let variables = [("DATABASE_URL", scratch.url.as_str()), ("AMQP_URL", "amqp://127.0.0.1:1")];
    // Empty: to be migrated first, and said so.
    refused_with(&run(folder.path(), &["status"], &variables), 1, &["migrate"]);
    let migrated = run(folder.path(), &["migrate"], &variables);
    assert!(migrated.status.success(), "{}", String::from_utf8_lossy(&migrated.stderr));
    let again = run(folder.path(), &["migrate"], &variables);
    assert!(String::from_utf8_lossy(&again.stdout).contains("already"));

    // Of a later program: nothing touches it.
    let database = Database::connect(&scratch.url).await;
    database
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (999, 'from the future', true, '', 0)",
        )
        .await;
    let up = ["up", "--listen", "127.0.0.1:0"];
    for command in [["status"].as_slice(), &["migrate"], &["project"], &["serve"], &up] {
        refused_with(&run(folder.path(), command, &variables), 1, &["999", "newer"]);
    }
    scratch.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_a_held_folder_say_who_is_in_the_way() {
    let scratch = Scratch::new("failures_taken").await;
    let broker = server("AMQP_URL");
    let variables = [("DATABASE_URL", scratch.url.as_str()), ("AMQP_URL", broker.as_str())];
    let folder = Folder::new();

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(folder.path(), &["up", "--listen", &address], &variables);
    refused_with(&output, 1, &[&address, "listen"]);

    // A node that nobody runs is no reason to stop: it may come back, and the status says so.
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let source = format!("message-api=http://{nowhere}");
    let mut first = start_up(&folder, &["--source", &source], &variables);
    let running = announced(&folder, &mut first).await;
    let graph = Graph::at(running.http_url.as_deref().unwrap());
    until("the status tells that the node is away", LONG, async || {
        first.must_run();
        let query = "{ status { sources { connected error } } }";
        let answer = graph.try_ask(query, Value::Null).await.ok()?;
        let source = &answer["data"]["status"]["sources"][0];
        (source["connected"] == json!(false) && source["error"].is_string()).then_some(())
    })
    .await;
    assert!(graph.get("/readyz").await.unwrap().contains("ready"));

    let data = folder.data();
    let data = data.to_str().unwrap();
    let second = ["up", "--listen", "127.0.0.1:0", "--data-dir", data];
    let output = run(folder.path(), &second, &variables);
    refused_with(&output, 1, &[data, "in use by process", &first.pid().to_string()]);
    // And the first one was not disturbed.
    first.must_run();
    assert!(first.stop().success(), "{}", first.tail());
    scratch.drop().await;
}

/// The program where some folders are empty and small. Root may mount them; others may in a namespace of users, where the
/// machine has these. `None`, and a line that nothing captures, where neither is allowed.
fn where_mounted(folder: &Folder, mounts: &[(&str, &str)], arguments: &str) -> Option<Output> {
    let mount = |(path, size): &(&str, &str)| {
        format!("mkdir -p {path}; mount -t tmpfs -o size={size},mode=711 tmpfs {path} || exit 99; ")
    };
    let script: String = mounts.iter().map(mount).collect();
    for namespaces in [&["--mount"][..], &["--map-current-user", "--keep-caps", "--mount"]] {
        let output = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-c"])
            .arg(format!("{script} exec {} {arguments}", binary().display()))
            .current_dir(folder.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .output();
        let allowed = |output: &Output| {
            output.status.code() != Some(99) && !output.stderr.starts_with(b"unshare:")
        };
        if let Some(output) = output.ok().filter(allowed) {
            return Some(output);
        }
    }
    let _ = writeln!(
        io::stderr(),
        "NOT TRIED: `{arguments}` with {mounts:?}, because this user may mount nothing (unshare)"
    );
    None
}

#[test]
fn missing_programs_and_a_full_disk_are_told_before_anything_is_started() {
    let folder = Folder::new();
    let up = "up --listen 127.0.0.1:0";
    for (path, parts) in [
        ("/usr/lib/postgresql", ["PostgreSQL is not installed", "postgresql", "DATABASE_URL"]),
        ("/usr/lib/rabbitmq", ["RabbitMQ is not installed", "rabbitmq-server", "AMQP_URL"]),
    ] {
        if let Some(output) = where_mounted(&folder, &[(path, "1m")], up) {
            refused_with(&output, 1, &parts);
        }
    }
    let data = folder.data();
    let data = data.to_str().unwrap();
    let up = format!("{up} --data-dir {data}");
    if let Some(output) = where_mounted(&folder, &[(data, "100m")], &up) {
        refused_with(&output, 1, &["disk", "full", data]);
    }
}
