//! The clients that people use, from npm, against a running server. They are installed once, as their lock file says.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use super::{
    fixture::{Indexed, capture},
    server::Serving,
};
use crate::Exposure;

const FILES: [&str; 7] = [
    "package.json",
    "package-lock.json",
    ".npmrc",
    "ask.mjs",
    "audit.mjs",
    "socket.mjs",
    "events.mjs",
];

/// A folder with the scripts and what they need.
fn installed() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (from, to) = (root.join("tests/clients"), root.join("target/clients"));
        std::fs::create_dir_all(&to).unwrap();
        let read = |path: &Path| std::fs::read(path).unwrap_or_default();
        let lock = "package-lock.json";
        let current = read(&from.join(lock)) == read(&to.join(lock)) && to.join("node_modules/.package-lock.json").exists();
        for file in FILES {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
        // What README shows uses the same clients.
        std::fs::copy(root.join("examples/javascript/tour.mjs"), to.join("tour.mjs")).unwrap();
        if !current {
            let npm = Command::new("npm").args(["ci", "--ignore-scripts"]).current_dir(&to).output();
            let npm = npm.unwrap_or_else(|error| {
                panic!("npm cannot be run: {error}; bin/install installs nodejs and npm, which the tests of the API's clients need")
            });
            let said = String::from_utf8_lossy(&npm.stderr);
            if !npm.status.success() {
                // Half an installation is none.
                let _ = std::fs::remove_file(to.join(lock));
                panic!("npm ci failed: {said}");
            }
        }
        to
    })
}

/// Runs a script to its end.
async fn run(script: &'static str, serving: &Serving, total: usize) {
    let url = format!("http://{}/graphql", serving.addr);
    let ended = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .arg(script)
            .current_dir(installed())
            .env("URL", url)
            .env("TOTAL", total.to_string())
            .env("ENOUGH", "3")
            .stdin(Stdio::null())
            .output()
            .unwrap_or_else(|error| {
                panic!("node cannot be run: {error}; bin/install installs nodejs")
            })
    });
    let ended =
        tokio::time::timeout(std::time::Duration::from_secs(240), ended).await.unwrap().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    println!("{said}");
    assert!(ended.status.success(), "{script} failed:\n{said}");
}

/// Runs a script while envelopes come in.
async fn run_live(script: &'static str) {
    let envelopes: Vec<_> = capture().into_iter().take(1_000).collect();
    let indexed = Indexed::with(envelopes[..100].to_vec()).await;
    installed();
    let serving = Serving::begin(&indexed, Exposure::default());
    let identities: std::collections::HashSet<_> =
        envelopes.iter().map(|envelope| (envelope.digest(), envelope.timestamp_ns)).collect();
    let feeding = async {
        for part in envelopes[100..].chunks(30) {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            indexed.add(part.to_vec()).await;
        }
    };
    tokio::join!(run(script, &serving, identities.len()), feeding);
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graphql_over_http_is_audited_without_a_word() {
    let indexed = Indexed::with(capture().into_iter().take(20).collect()).await;
    let serving = Serving::begin(&indexed, Exposure::default());
    run("audit.mjs", &serving, 0).await;
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_serve_the_client_that_everybody_uses() {
    run_live("socket.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_streams_serve_the_client_that_everybody_uses() {
    run_live("events.mjs").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_of_the_readme_is_true() {
    run_live("tour.mjs").await;
}
