//! The peer: PostGraphile on the same tables, one process, in its production mode. Its own `package-lock.json` says
//! which version of what; npm installs it once into a folder that is kept.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use super::http::Target;
use crate::child::Process;

const FILES: [(&str, &str); 4] = [
    ("package.json", include_str!("peer/package.json")),
    ("package-lock.json", include_str!("peer/package-lock.json")),
    (".npmrc", include_str!("peer/.npmrc")),
    ("graphile.config.mjs", include_str!("peer/graphile.config.mjs")),
];

/// How long npm may take: it fetches about 500 MB.
const INSTALL: Duration = Duration::from_secs(600);

/// A running PostGraphile.
pub(super) struct Peer {
    process: Process,
    pub(super) target: Target,
}

impl Peer {
    /// Starts it; installs it first where `install` says so.
    pub(super) async fn start(
        folder: &Path,
        install: bool,
        database: &str,
        log: &Path,
    ) -> anyhow::Result<Peer> {
        let folder = installed(folder, install).await?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let modules = folder.join("node_modules");
        let mut command = Command::new(modules.join(".bin/node"));
        command
            .arg(modules.join("postgraphile/dist/cli-run.js"))
            .args(["-C", "graphile.config.mjs"])
            .current_dir(&folder)
            .env("GRAPHILE_ENV", "production")
            .env("NODE_ENV", "production")
            .env("DATABASE_URL", database)
            .env("PEER_PORT", port.to_string());
        let mut process = Process::spawn(command, log)?;
        let url = process
            .word_behind("listening on port")
            .await
            .and_then(|_| Target::parse(&format!("http://127.0.0.1:{port}/graphql")))?;
        Ok(Peer { process, target: url })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.process.stop().await
    }
}

/// The folder with everything in it. What is there and fits is not fetched again.
async fn installed(folder: &Path, install: bool) -> anyhow::Result<PathBuf> {
    let done = folder.join("installed.json");
    let lock = FILES[1].1;
    if !std::fs::read_to_string(&done).is_ok_and(|there| there == lock) {
        ensure!(install, "it is not installed in {}", folder.display());
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        for (name, text) in FILES {
            std::fs::write(folder.join(name), text)?;
        }
        eprintln!("  … npm installs PostGraphile into {}, once", folder.display());
        let npm = Command::new("npm")
            .args(["ci", "--engine-strict=false", "--fetch-retries=1", "--loglevel=error"])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(INSTALL, npm)
            .await
            .context("npm takes too long")?
            .context("cannot start npm: install nodejs and npm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        ensure!(output.status.success(), "npm cannot install it: {last}");
        std::fs::write(&done, lock)?;
    }
    std::fs::write(folder.join(FILES[3].0), FILES[3].1)?;
    Ok(std::fs::canonicalize(folder)?)
}
