//! The story of a key, by the program itself: made, shown once, used, taken back.

#![cfg(test)]

mod database;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use database::{Database, sql};

/// A server, which does not outlive a test that fails.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn begin(mut command: Command) -> Serving {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().rsplit("http://").next().unwrap().replace("/graphql", "");
        Serving { child, address }
    }

    /// The status of a question asked with these headers.
    fn ask(&self, headers: &str) -> u16 {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let path = "/graphql?query=%7B__typename%7D";
        write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Stops it, and gives what it logged.
    fn end(mut self) -> String {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let mut log = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(self.child.wait().unwrap().success(), "{log}");
        log
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn a_key_is_shown_once_opens_the_api_and_is_taken_back() {
    let database = Database::new("keys");
    database.fails(&["keys", "list"], 1, "xmtp-indexer migrate");
    database.prints(&["migrate"]);
    database.fails(&["keys", "create", "--name", "a b"], 1, "letters");
    database.fails(
        &["keys", "create", "--name", "a", "--scope", "write"],
        2,
        "read, push and admin",
    );
    database.fails(&["keys", "create", "--name", "a", "--rate", "9"], 2, "600/m");
    database.fails(&["keys", "create", "--name", "a", "--expires", "soon"], 2, "90d");

    let output =
        database.run(&["keys", "create", "--name", "app", "--rate", "600/m", "--expires", "90d"]);
    let printed = String::from_utf8(output.stdout).unwrap();
    let key = printed.trim();
    assert!(key.starts_with("xidx_") && printed.lines().count() == 1, "{printed}");
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("shown once") && told.contains("600/m") && !told.contains(key), "{told}");
    database.fails(&["keys", "create", "--name", "app"], 1, "revoke it first");
    let secret = key.rsplit('_').next().unwrap();
    let listed = database.prints(&["keys", "list"]);
    assert!(
        listed.contains("app") && listed.contains("expires") && !listed.contains(secret),
        "{listed}"
    );
    let json = database.prints(&["keys", "create", "--name", "ops", "--scope", "admin", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["key"].as_str().unwrap().starts_with("xidx_") && json["scopes"][0] == "admin");

    // Others are let in only with a key, or on purpose.
    database.fails(&["serve", "--listen", "0.0.0.0:0"], 2, "api.keys = \"required\"");
    let required = ["serve", "--listen", "127.0.0.1:0", "--set", "api.keys=required"];
    let serving = Serving::begin(database.program(&required));
    let bearer = format!("authorization: Bearer {key}\r\n");
    assert_eq!((serving.ask(""), serving.ask(&bearer)), (401, 200));
    database.prints(&["keys", "revoke", "app"]);
    let began = Instant::now();
    while serving.ask(&bearer) != 401 {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "a revoked key is good for 30 s at most"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
    let log = serving.end();
    assert!(log.contains("xmtp_reader"), "it serves as the readers' role: {log}");
    assert!(log.contains("\"key\":\"app\"") && !log.contains(secret), "{log}");
    database.fails(&["keys", "revoke", "app"], 1, "keys list");
    assert!(!database.prints(&["keys", "list"]).contains("app"));
    let all = database.prints(&["keys", "list", "--all"]);
    assert!(all.contains("revoked") && all.contains("used "), "{all}");
}

#[test]
fn who_serves_the_public_may_only_read() {
    let database = Database::new("public");
    database.prints(&["migrate"]);
    // A user with more rights than reading takes, and without the right to lay them down.
    let user = format!("writer{}", std::process::id());
    sql(
        &database.url,
        &format!(
            "create role {user} login password 'p'; grant select, insert on all tables in schema ground, derived, public to {user}; grant usage on schema ground, derived, access to {user}; grant select on all tables in schema access to {user}"
        ),
    );
    let (scheme, rest) = database.url.split_once("://").unwrap();
    let url = format!("{scheme}://{user}:p@{}", rest.rsplit_once('@').unwrap().1);
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let output =
        database.program(&[&serve[..], &["--public"]].concat()).env("DATABASE_URL", &url).output();
    let said = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(said.contains("it may write") && said.contains("database.reader_url"), "{said}");
    // The same database through a login that may only read.
    let login = format!("reader{}", std::process::id());
    sql(&database.url, &format!("create role {login} login password 'p' in role xmtp_reader"));
    let url = format!("{scheme}://{login}:p@{}", rest.rsplit_once('@').unwrap().1);
    let mut command = database.program(&[&serve[..], &["--public"]].concat());
    command.env("XMTP_INDEXER__DATABASE__READER_URL", url).env_remove("DATABASE_URL");
    let serving = Serving::begin(command);
    assert_eq!(serving.ask(""), 200);
    serving.end();
    sql(&database.url, &format!("drop owned by {user}, {login}; drop role {user}, {login}"));
}
