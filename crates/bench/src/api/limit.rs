//! The limit: the same SQL by pgbench, prepared, over the same kind of socket. Nothing that serves can be faster.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use store::measure::population::Population;
use tokio::process::Command;

use super::{
    question::Question,
    sample::{Sample, Watched},
};
use crate::machine;

/// pgbench, and where it keeps its files.
pub(super) struct Limit {
    program: PathBuf,
    folder: PathBuf,
    database: String,
    password: String,
}

impl Limit {
    /// Finds the program: Debian keeps it with the server.
    pub(super) fn find(folder: &Path, url: &str) -> anyhow::Result<Limit> {
        let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|version| version.path().join("bin/pgbench"))
            .filter(|program| program.is_file())
            .collect();
        found.sort();
        let program = found.pop().context("pgbench is missing: install postgresql")?;
        // The password is not shown in the list of processes.
        let (head, rest) = url.split_once("://").context("no URL")?;
        let (login, rest) = rest.split_once('@').context("no password")?;
        let (user, password) = login.split_once(':').context("no password")?;
        Ok(Limit {
            program,
            folder: folder.to_owned(),
            database: format!("{head}://{user}@{rest}"),
            password: password.to_owned(),
        })
    }

    /// Runs for so long.
    pub(super) async fn run(
        &self,
        question: Question,
        population: &Population,
        connections: usize,
        seconds: u64,
        watched: &Watched,
    ) -> anyhow::Result<Sample> {
        let script = self.folder.join("question.sql");
        tokio::fs::write(&script, question.script()).await?;
        let mut command = Command::new(&self.program);
        command
            .args(["-n", "-M", "prepared", "-j", "1", "-l", "--sampling-rate", "0.1"])
            .args(["-c", &connections.to_string(), "-T", &seconds.to_string()])
            .args(["-D", &format!("accounts={}", population.accounts())])
            .args(["-D", &format!("recipients={}", population.recipients())])
            .args(["-D", &format!("days={}", population.days())])
            .args(["-D", &format!("first_hour={}", population.first_hour())])
            .args(["--log-prefix", "pgbench", "-f", "question.sql", &self.database])
            .env("PGPASSWORD", &self.password)
            .current_dir(&self.folder)
            .kill_on_drop(true);
        let before = (watched.cpu(), machine::waited_cpu_seconds());
        let output = command.output().await.context("cannot start pgbench")?;
        let after = (watched.cpu(), machine::waited_cpu_seconds());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "pgbench failed: {complaint}");
        let number = |mark: &str| -> anyhow::Result<f64> {
            let rest = said.split_once(mark).context("pgbench says something else")?.1;
            let word = rest.split([' ', '/', '\n']).next().unwrap_or_default();
            Ok(word.parse()?)
        };
        let count = number("number of transactions actually processed: ")?;
        let times = self.times().await?;
        Sample::of(times, count, number("tps = ")?, after.0 - before.0, after.1 - before.1)
    }

    /// The milliseconds in its logs, which are removed.
    async fn times(&self) -> anyhow::Result<Vec<f64>> {
        let mut times = Vec::new();
        let mut files = tokio::fs::read_dir(&self.folder).await?;
        while let Some(file) = files.next_entry().await? {
            if file.file_name().to_string_lossy().starts_with("pgbench.") {
                let text = tokio::fs::read_to_string(file.path()).await?;
                // Client, transaction, microseconds, …
                let third = |line: &str| line.split(' ').nth(2)?.parse::<f64>().ok();
                times.extend(text.lines().filter_map(third).map(|us| us / 1e3));
                tokio::fs::remove_file(file.path()).await?;
            }
        }
        Ok(times)
    }
}
