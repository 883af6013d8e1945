//! Processes that are killed at random, and whoever starts them again.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    folder::Folder,
    program::{Program, signal},
};

/// The least time between two starts of a role.
const BREAK: Duration = Duration::from_millis(500);

/// One role in a process of its own, started again whenever it ends, as a supervisor of services does.
pub struct Role {
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    program: Program,
    started: Instant,
    /// How often it was started again.
    pub restarts: u32,
}

impl Role {
    /// Starts it.
    pub fn start(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Role {
        let data = folder.data();
        let mut all = arguments.to_vec();
        all.extend(["--data-dir", data.to_str().unwrap()]);
        let program = Program::start(folder.path(), &all, variables);
        let text = |text: &&str| (*text).to_owned();
        Role {
            arguments: all.iter().map(text).collect(),
            variables: variables.iter().map(|(k, v)| (text(k), text(v))).collect(),
            program,
            started: Instant::now(),
            restarts: 0,
        }
    }

    /// Starts it again if it has ended, for whatever reason.
    pub fn tend(&mut self, folder: &Folder) {
        // One that cannot start is not tried without a break.
        if self.program.ended().is_some() && self.started.elapsed() > BREAK {
            self.started = Instant::now();
            let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
            let variables: Vec<(&str, &str)> =
                self.variables.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            self.program = Program::start(folder.path(), &arguments, &variables);
            self.restarts += 1;
        }
    }

    /// The process.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }
}

/// The embedded database's server, if it is running.
pub fn database_server(data: &Path) -> Option<u32> {
    let text = fs::read_to_string(data.join("postgres/data/postmaster.pid")).ok()?;
    alive(text.lines().next()?.trim().parse().ok()?)
}

/// The embedded broker, if it is running.
pub fn broker(data: &Path) -> Option<u32> {
    let text = fs::read_to_string(data.join("pids/rabbitmq.pid")).ok()?;
    alive(text.split(' ').next()?.trim().parse().ok()?)
}

fn alive(pid: u32) -> Option<u32> {
    Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
}

/// Kills a process by its id. Whether there was one.
pub fn kill(pid: Option<u32>) -> bool {
    let Some(pid) = pid else { return false };
    signal(pid, Signal::SIGKILL);
    true
}

/// How long a process that was killed may take to be gone.
pub const GONE: Duration = Duration::from_secs(10);
