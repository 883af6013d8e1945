//! Child processes: what is measured runs in a process of its own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// The program that is measured, as it would be deployed.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

impl Program {
    /// This file, or `xmtp-indexer` beside the running executable.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn find(file: Option<PathBuf>) -> anyhow::Result<Program> {
        let file = match file {
            Some(file) => file,
            None => std::env::current_exe()
                .context("cannot find the folder of this program")?
                .with_file_name("xmtp-indexer"),
        };
        ensure!(
            file.is_file(),
            "{} is missing: build it first (cargo build --release -p indexer), or name it with --program",
            file.display()
        );
        Ok(Program(file))
    }

    /// Starts it with arguments and environment; its log goes to a file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(
        &self,
        args: &[&str],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Process> {
        let mut command = Command::new(&self.0);
        command
            .args(args)
            .env_remove("DATABASE_URL")
            .env_remove("AMQP_URL")
            .envs(environment.iter().copied());
        Process::spawn(command, log)
    }
}

/// A running child process, which is killed when this is dropped.
pub struct Process {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Process {
    /// Starts any command; its stderr goes to a file.
    pub fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Process> {
        let log = std::fs::File::create(log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .context("cannot start a child")?;
        let stdout = child.stdout.take().context("no stdout")?;
        Ok(Process { child, lines: BufReader::new(stdout).lines() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Waits for a line that contains `mark`; returns the word after it.
    pub async fn word_behind(&mut self, mark: &str) -> anyhow::Result<String> {
        let wait = async {
            while let Some(line) = self.lines.next_line().await? {
                if let Some((_, rest)) = line.split_once(mark) {
                    return Ok(rest.split_whitespace().next().unwrap_or_default().to_owned());
                }
            }
            bail!("the child ended before it said `{mark}`; its log tells why")
        };
        tokio::time::timeout(Duration::from_secs(120), wait)
            .await
            .context("the child says nothing")?
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id() {
            kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM).ok();
        }
        // A process that prints to a full pipe blocks, so the pipe is read to its end.
        let drain = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        let (_, ended) =
            tokio::join!(drain, tokio::time::timeout(Duration::from_secs(60), self.child.wait()));
        ended.context("the child does not stop")??;
        Ok(())
    }
}
