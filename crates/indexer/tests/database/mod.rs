//! A database for each test, and the program run on it.

use std::process::{Command, Output};

/// A database of its own, dropped afterwards.
pub(crate) struct Database {
    server: String,
    name: String,
    pub(crate) url: String,
}

impl Database {
    #[expect(clippy::disallowed_methods, reason = "tests get their server from the environment")]
    pub(crate) fn new(what: &str) -> Database {
        let server = std::env::var("DATABASE_URL").expect("bin/test starts a server and names it");
        let name = format!("indexer_{what}_{}", std::process::id());
        let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
        sql(&server, &format!("drop database if exists {name}"));
        sql(&server, &format!("create database {name}"));
        Database { server, name, url }
    }

    pub(crate) fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xmtp-indexer"));
        command.args(arguments).current_dir(std::env::temp_dir()).env_clear();
        command.env("DATABASE_URL", &self.url).env("RUST_LOG", "info,sqlx=warn");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.program(arguments).output().unwrap()
    }

    /// Runs the program, which must end with 0, and returns its stdout.
    pub(crate) fn prints(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn fails(&self, arguments: &[&str], code: i32, wanted: &str) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        sql(&self.server, &format!("drop database if exists {} with (force)", self.name));
    }
}

pub(crate) fn sql(url: &str, statement: &str) -> String {
    let output = Command::new("psql").args([url, "-XAtqc", statement]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
