//! Processes that are killed at random, and whoever starts them again.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
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
    end: End,
    /// How often it was started again.
    pub restarts: u32,
}

/// Why a role may end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Because of something that it tells.
    Failed,
    /// It is told to stop.
    Told,
    /// It is killed.
    Killed,
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
            end: End::Failed,
            restarts: 0,
        }
    }

    /// Starts it again if it has ended. One that ended by itself must have said why.
    pub fn tend(&mut self, folder: &Folder) {
        // One that cannot start is not tried without a break.
        if let Some(status) = self.program.ended()
            && self.started.elapsed() > BREAK
        {
            let log = self.program.log();
            let cause = log.lines().rev().find(|line| line.starts_with("error: "));
            match (self.end, cause) {
                (End::Failed, Some(cause)) if matches!(status.code(), Some(1 | 2)) => {
                    eprintln!("{:?} ended: {cause}", self.arguments);
                }
                (End::Failed, _) => panic!(
                    "{:?} ended ({status}) and does not say why:\n{}",
                    self.arguments,
                    self.program.tail()
                ),
                (End::Told, _) => assert!(
                    // Before it listens for signals it has begun nothing; before it has begun, it says so.
                    status.success()
                        || status.signal() == Some(15) && log.is_empty()
                        || cause.is_some_and(|cause| cause.starts_with("error: stopped while")),
                    "{:?} was told to stop and failed ({status}):\n{}",
                    self.arguments,
                    self.program.tail()
                ),
                (End::Killed, _) => {}
            }
            self.end = End::Failed;
            self.started = Instant::now();
            let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
            let variables: Vec<(&str, &str)> =
                self.variables.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            self.program = Program::start(folder.path(), &arguments, &variables);
            self.restarts += 1;
        }
    }

    /// Kills it. Whether there was something to kill.
    pub fn kill(&mut self) -> bool {
        let running = self.program.ended().is_none();
        if running {
            self.end = End::Killed;
            self.program.kill();
        }
        running
    }

    /// Tells it to stop.
    pub fn terminate(&mut self) {
        if self.program.ended().is_none() {
            self.end = End::Told;
            signal(self.program.pid(), Signal::SIGTERM);
        }
    }

    /// When it was started last.
    pub fn started(&self) -> Instant {
        self.started
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

/// Stops a process and its children, so that it hangs, or lets them go on.
pub fn hang(pid: u32, hangs: bool) {
    let sent = if hangs { Signal::SIGSTOP } else { Signal::SIGCONT };
    // The parent first: it makes no more of them then.
    signal(pid, sent);
    for child in children(pid) {
        hang(child, hangs);
    }
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

/// Kills a process by its id. Whether there was one.
pub fn kill(pid: Option<u32>) -> bool {
    let Some(pid) = pid else { return false };
    signal(pid, Signal::SIGKILL);
    true
}

/// How long a process that was killed may take to be gone.
pub const GONE: Duration = Duration::from_secs(10);
