//! The program from outside: exit codes, and one readable line for what is wrong.

#![cfg(test)]

use std::process::{Command, Output};

fn program(arguments: &[&str]) -> Output {
    let folder = std::env::temp_dir();
    Command::new(env!("CARGO_BIN_EXE_xmtp-indexer"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("DATABASE_URL", "postgres://me:hunter2@127.0.0.1/d")
        .output()
        .expect("the program can be started")
}

#[test]
fn wrong_usage_and_wrong_settings_end_with_two() {
    let cases: [(&[&str], &str); 5] = [
        (&["no-such-command"], "no-such-command"),
        (&["services", "--set", "queue.prefech=1"], "did you mean `queue.prefetch`?"),
        (&["services", "--set", "queue.prefetch=0"], "must be at least 1"),
        (&["services", "--config", "absent.toml"], "absent.toml"),
        (&[], "no command is given"),
    ];
    for (arguments, wanted) in cases {
        let output = program(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(wanted), "{arguments:?}: {said}");
    }
}

#[test]
fn a_folder_that_cannot_be_made_ends_with_one() {
    let output = program(&["services", "--data-dir", "/proc/nowhere"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/proc/nowhere") && said.lines().count() == 1, "{said}");
}

#[test]
fn settings_in_force_are_printed_without_secrets() {
    let output = program(&["--print-config", "--data-dir", "elsewhere"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    assert!(said.contains("data_dir = \"elsewhere\""), "{said}");
    assert!(said.contains("postgres://me:***@127.0.0.1/d") && !said.contains("hunter2"), "{said}");
}
