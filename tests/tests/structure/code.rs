//! Where SQL, stubs of gRPC and child processes may be used, and what no file may contain.

use super::tree::{FILES, none};

/// The beginnings of the SQL statements in this code. A statement is a string literal that begins like one.
fn statements(code: &str) -> Vec<String> {
    let begins = [
        ("select ", " from "),
        ("with ", " as ("),
        ("insert into ", ""),
        ("delete from ", ""),
        ("update ", " set "),
        ("create ", " table "),
        ("alter table ", ""),
        ("truncate ", "derived."),
        ("drop ", " table "),
    ];
    let texts = code.split('"').map(|text| {
        let words: Vec<&str> = text.split_whitespace().collect();
        format!(" {} ", words.join(" ").to_lowercase())
    });
    let is_sql = |text: &String| {
        begins.iter().any(|(first, then)| {
            text.strip_prefix(&format!(" {first}"))
                .is_some_and(|rest| format!(" {rest}").contains(then))
        })
    };
    texts.filter(is_sql).map(|text| text.chars().take(60).collect()).collect()
}

#[test]
fn sql_is_distinguished_from_prose() {
    for sql in [
        "select 1 from derived.topics",
        "Insert Into t values (1)",
        "update t\n   set a = 1",
        "create table t (a int)",
        "with a as (select 1) select 2",
    ] {
        assert_eq!(statements(&format!("execute(\"{sql}\")")).len(), 1, "{sql}");
    }
    for words in ["tokio::select! {", "print(\"choose one from these\")", "\"updates come\""] {
        assert_eq!(statements(words), [""; 0], "{words}");
    }
}

#[test]
fn sql_is_in_store_and_in_migrations() {
    let mut wrong = Vec::new();
    let others = FILES.iter().filter(|file| file.is_rust() && file.product() != Some("store"));
    for file in others.filter(|file| file.product().is_some()) {
        let found = statements(&file.code());
        wrong.extend(found.iter().map(|sql| format!("{}:{sql}…", file.path)));
    }
    for file in FILES.iter().filter(|file| file.path.ends_with(".sql")) {
        if !file.path.starts_with("migrations/") && !file.path.starts_with("deploy/") {
            wrong.push(format!("{}: migrations belong in migrations/", file.path));
        }
    }
    none("SQL outside of crates/store and migrations/", wrong);
}

#[test]
fn only_ingest_calls_nodes_and_only_devnet_implements_one() {
    let mut wrong = Vec::new();
    for file in FILES.iter().filter(|file| file.product().is_some()) {
        let (code, product) = (file.code(), file.product());
        for (stub, owner) in [("_client::", "ingest"), ("_server::", "devnet")] {
            let used = ["message_api", "mls_api", "identity_api", "replication_api", "query_api"]
                .iter()
                .any(|api| code.contains(&format!("{api}{stub}")));
            if used && product != Some(owner) {
                wrong.push(format!("{}: only {owner} may use stubs of {stub}", file.path));
            }
        }
    }
    none("stubs of gRPC in the wrong crate", wrong);
}

#[test]
fn only_embedded_starts_child_processes() {
    let mut wrong = Vec::new();
    for file in FILES.iter().filter(|file| file.is_rust() && file.product().is_some()) {
        // Benchmarks measure processes of their own.
        if matches!(file.product(), Some("embedded" | "bench")) {
            continue;
        }
        if file.code().contains("process::Command") || file.code().contains("Command::new(") {
            wrong.push(file.path.clone());
        }
    }
    none("child processes outside of crates/embedded and crates/bench", wrong);
}

#[test]
fn no_file_contains_a_path_of_a_machine() {
    // Assembled, so that this file does not contain them.
    let folders = ["work", "root", "home"].map(|name| format!("/{name}/"));
    let mut wrong = Vec::new();
    for file in FILES.iter().filter(|file| file.path != "Cargo.lock") {
        for (number, line) in file.text.lines().enumerate() {
            if folders.iter().any(|folder| line.contains(folder.as_str())) {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    none("a path of a machine", wrong);
}

#[test]
fn no_code_is_unfinished_and_no_test_is_ignored() {
    let marks = ["#[ign", "#[all", "todo!", "unimplem"]
        .iter()
        .zip(["ore", "ow(", "(", "ented!("])
        .map(|(head, tail)| format!("{head}{tail}"))
        .collect::<Vec<_>>();
    let mut wrong = Vec::new();
    for file in FILES.iter().filter(|file| file.is_rust()) {
        for mark in marks.iter().filter(|mark| file.code().contains(mark.as_str())) {
            wrong.push(format!("{}: {mark}", file.path));
        }
    }
    none("unfinished code, an ignored test or an allowed lint", wrong);
}
