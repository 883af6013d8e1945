//! This program again, or another, as a child process: what is measured must be a process of its own.

use std::{path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

/// A running child; killed when dropped.
pub struct Process {
    child: Child,
    lines: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
}

impl Process {
    /// Starts this program with arguments and environment; its log goes to a file.
    pub fn start(
        args: &[&str],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Process> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let mut command = Command::new(program);
        command
            .args(args)
            .env_remove("DATABASE_URL")
            .env_remove("AMQP_URL")
            .envs(environment.iter().copied());
        Process::spawn(command, log)
    }

    /// Starts any command; what it complains about goes to a file.
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

    /// Waits for a line that holds `mark`; gives the word behind it.
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
        // Whoever prints to a pipe that nobody reads may wait for ever.
        let drain = async { while let Ok(Some(_)) = self.lines.next_line().await {} };
        let (_, ended) =
            tokio::join!(drain, tokio::time::timeout(Duration::from_secs(60), self.child.wait()));
        ended.context("the child does not stop")??;
        Ok(())
    }
}
