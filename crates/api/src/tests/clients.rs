//! The clients that people use, from npm, against a running server. They are installed once, as their lock file says.

use std::{
    collections::HashSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use bytes::Bytes;
use wire::Envelope;

use super::{
    fixture::{Indexed, capture},
    server::Serving,
};
use crate::Exposure;

const FILES: [&str; 9] = [
    "package.json",
    "package-lock.json",
    ".npmrc",
    "ask.mjs",
    "audit.mjs",
    "socket.mjs",
    "events.mjs",
    "quiet.mjs",
    "resume.mjs",
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
async fn run(script: &'static str, addr: SocketAddr, total: usize) {
    let url = format!("http://{addr}/graphql");
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
    let ended = tokio::time::timeout(Duration::from_secs(240), ended).await.unwrap().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    println!("{said}");
    assert!(ended.status.success(), "{script} failed:\n{said}");
}

/// How many different envelopes there are.
fn distinct(envelopes: &[Envelope]) -> usize {
    let identities = envelopes.iter().map(|envelope| (envelope.digest(), envelope.timestamp_ns));
    identities.collect::<HashSet<_>>().len()
}

/// Runs a script while envelopes come in.
async fn run_live(script: &'static str) {
    let envelopes: Vec<_> = capture().into_iter().take(1_000).collect();
    let indexed = Indexed::with(envelopes[..100].to_vec()).await;
    installed();
    let serving = Serving::begin(&indexed, Exposure::default());
    let feeding = async {
        for part in envelopes[100..].chunks(30) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            indexed.add(part.to_vec()).await;
        }
    };
    tokio::join!(run(script, serving.addr, distinct(&envelopes)), feeding);
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn graphql_over_http_is_audited_without_a_word() {
    let indexed = Indexed::with(capture().into_iter().take(20).collect()).await;
    let serving = Serving::begin(&indexed, Exposure::default());
    run("audit.mjs", serving.addr, 0).await;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_come_again_by_themselves_and_miss_nothing() {
    let envelopes: Vec<_> = capture().into_iter().take(1_000).collect();
    let indexed = Indexed::with(envelopes[..100].to_vec()).await;
    installed();
    let mut exposure = Exposure::default();
    exposure.sockets.age = Duration::from_millis(1_200);
    let mut serving = Serving::begin(&indexed, exposure.clone());
    let addr = serving.addr;
    let parts: Vec<_> = envelopes[100..].chunks(50).collect();
    let feeding = async {
        for parts in parts.chunks(6) {
            let waits = std::time::Instant::now();
            while serving.hub.past.worked_out() == 0 {
                assert!(waits.elapsed() < Duration::from_secs(60), "nobody comes");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // Longer than a socket may live.
            for part in &parts[1..] {
                tokio::time::sleep(Duration::from_millis(300)).await;
                indexed.add(part.to_vec()).await;
            }
            serving.end().await;
            // While nobody is told.
            indexed.add(parts[0].to_vec()).await;
            serving = Serving::at(&indexed, exposure.clone(), addr);
        }
        serving
    };
    let ((), serving) = tokio::join!(run("resume.mjs", addr, distinct(&envelopes)), feeding);
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_on_which_nothing_happens_live_on() {
    let indexed = Indexed::with(capture().into_iter().take(20).collect()).await;
    installed();
    let exposure = Exposure { heartbeat: Duration::from_millis(150), ..Exposure::default() };
    let serving = Serving::begin(&indexed, exposure);
    let now_and_then = async {
        for n in 0.. {
            let text = Bytes::from(format!("now and then, for the {n}th time"));
            indexed
                .add(vec![Envelope { topic: text.clone(), timestamp_ns: n, message: text }])
                .await;
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
    };
    tokio::select! {
        () = run("quiet.mjs", serving.addr, 3) => {}
        () = now_and_then => {}
    }
    serving.end().await;
}
