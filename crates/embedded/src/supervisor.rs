//! One child process, kept alive until it is told to stop.
//!
//! Each child has a thread of its own, which starts it, waits for it and starts it again. The
//! kernel sends the parent-death signal when the *thread* that started a child ends, so it must be
//! one that lives as long as the child is wanted: not a worker or a blocking thread of the runtime.

use std::{
    process::{Child, Command},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::Signal,
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::Pid,
};
use tokio::sync::watch;

use crate::{
    error::{Context, EmbeddedError},
    output::Output,
    process::{Identity, send},
};

/// The wait before the first restart; doubled up to `LONGEST` while the child keeps ending.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// A child that ran this long was fine: the waits begin anew.
const STEADY: Duration = Duration::from_secs(10);

/// How a child is started, time and again.
pub(crate) struct Recipe {
    /// For logs and errors.
    pub(crate) name: &'static str,
    /// Makes the command, after clearing away what the run before left.
    pub(crate) command: Box<dyn FnMut() -> Command + Send>,
    /// Where the running child is written down for the next start of the program.
    pub(crate) pid_file: std::path::PathBuf,
    pub(crate) output: Output,
}

/// What a child does right now.
#[derive(Clone, Debug, Default)]
pub(crate) struct State {
    /// The running child.
    pub(crate) pid: Option<u32>,
    /// How often it ended by itself.
    pub(crate) ends: u32,
    /// How it ended last.
    pub(crate) last_end: Option<String>,
    /// Told to stop, and gone.
    pub(crate) stopped: bool,
}

/// A child that is kept alive.
pub(crate) struct Supervised {
    name: &'static str,
    shared: Arc<Shared>,
    state: watch::Receiver<State>,
    output: Output,
}

#[derive(Default)]
struct Shared {
    control: Mutex<Control>,
    changed: Condvar,
}

#[derive(Default)]
struct Control {
    stopping: bool,
    /// Set while the pid is surely the child's: from its start until just before it is reaped.
    pid: Option<u32>,
}

impl Supervised {
    /// Starts the thread that starts the child.
    pub(crate) fn start(recipe: Recipe) -> Result<Self, EmbeddedError> {
        let (sender, state) = watch::channel(State::default());
        let (name, output) = (recipe.name, recipe.output.clone());
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::Builder::new()
            .name(format!("keep-{name}"))
            .spawn(move || Keeper { recipe, shared: theirs, state: sender }.keep())
            .context(|| format!("start a thread for {name}"))?;
        Ok(Self { name, shared, state, output })
    }

    pub(crate) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    pub(crate) fn output(&self) -> &Output {
        &self.output
    }

    /// The error for a child that will not come up.
    pub(crate) fn did_not_start(&self, reason: &str) -> EmbeddedError {
        let tail = self.output.tail();
        let words = tail.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        let reason =
            if words.is_empty() { reason.to_owned() } else { format!("{reason}: {words}") };
        let log = self.output.log().to_path_buf();
        EmbeddedError::DidNotStart { service: self.name, reason, log }
    }

    /// Ends the child for good: each signal with its own patience.
    pub(crate) async fn stop(&self, signals: &[(Signal, Duration)]) -> bool {
        let mut state = self.state.clone();
        for (signal, limit) in signals {
            self.signal(*signal);
            let gone = tokio::time::timeout(*limit, state.wait_for(|state| state.stopped)).await;
            // An error of the channel says that the thread is gone, and so is its child.
            if gone.is_ok() {
                return true;
            }
            tracing::warn!(service = self.name, %signal, "did not stop in time");
        }
        false
    }

    /// Forbids restarts and sends a signal, without waiting.
    pub(crate) fn signal(&self, signal: Signal) {
        let mut control = self.shared.lock();
        control.stopping = true;
        self.shared.changed.notify_all();
        if let Some(pid) = control.pid {
            // Under the lock: the child is not reaped, so the pid is still its own.
            send(pid, signal);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Control> {
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits before a restart; true when it is to stop instead.
    fn pause(&self, limit: Duration) -> bool {
        let guard = self.lock();
        let waited = self.changed.wait_timeout_while(guard, limit, |control| !control.stopping);
        let (guard, _) = waited.unwrap_or_else(PoisonError::into_inner);
        guard.stopping
    }
}

struct Keeper {
    recipe: Recipe,
    shared: Arc<Shared>,
    state: watch::Sender<State>,
}

impl Keeper {
    fn keep(mut self) {
        let name = self.recipe.name;
        let mut delay = SHORTEST;
        loop {
            let since = Instant::now();
            let end = match self.run_once() {
                Ok(end) => end,
                Err(error) => format!("cannot be started: {error}"),
            };
            if self.shared.lock().stopping {
                break;
            }
            if since.elapsed() >= STEADY {
                delay = SHORTEST;
            }
            tracing::warn!(service = name, end, again_in = ?delay, "ended by itself, is started again");
            self.state.send_modify(|state| {
                state.pid = None;
                state.ends += 1;
                state.last_end = Some(end);
            });
            if self.shared.pause(delay) {
                break;
            }
            delay = (delay * 2).min(LONGEST);
        }
        _ = std::fs::remove_file(&self.recipe.pid_file);
        self.state.send_modify(|state| {
            state.pid = None;
            state.stopped = true;
        });
    }

    /// Starts the child and waits for its end, which it returns in words.
    fn run_once(&mut self) -> std::io::Result<String> {
        if self.shared.lock().stopping {
            return Ok("stopped before it was started".to_owned());
        }
        let (reader, writer) = std::io::pipe()?;
        let mut command = (self.recipe.command)();
        command.stdout(writer.try_clone()?).stderr(writer);
        self.recipe.output.forget();
        let mut child = command.spawn()?;
        // Our copies of the pipe's end go with the command: only the child's keep it open.
        drop(command);
        let output = self.recipe.output.clone();
        let follower = thread::Builder::new()
            .name(format!("hear-{}", self.recipe.name))
            .spawn(move || output.follow(reader));
        let pid = child.id();
        {
            let mut control = self.shared.lock();
            control.pid = Some(pid);
            if control.stopping {
                send(pid, Signal::SIGKILL);
            }
        }
        self.state.send_modify(|state| state.pid = Some(pid));
        // Without it the next start looks less far; no reason to do without the child now.
        if let Some(Err(error)) = Identity::of(pid).map(|child| child.record(&self.recipe.pid_file))
        {
            tracing::warn!(service = self.recipe.name, %error, "its pid is not kept");
        }
        if let Err(error) = follower {
            tracing::warn!(service = self.recipe.name, %error, "its output is not kept");
        }
        self.wait(&mut child)
    }

    fn wait(&self, child: &mut Child) -> std::io::Result<String> {
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
        // First without reaping: as long as the corpse is there, nobody else gets the pid.
        while waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR)
        {
        }
        self.shared.lock().pid = None;
        Ok(child.wait()?.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_killed_child_comes_back_and_a_stopped_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let child = Supervised::start(Recipe {
            name: "sleeper",
            command: Box::new(|| {
                let mut command = Command::new("sleep");
                command.arg("600");
                command
            }),
            pid_file: folder.path().join("pid"),
            output: Output::new(folder.path().join("log")),
        })
        .unwrap();
        let limit = Duration::from_secs(10);
        let mut state = child.state.clone();
        let first = tokio::time::timeout(limit, state.wait_for(|state| state.pid.is_some()));
        let first = first.await.unwrap().unwrap().pid.unwrap();
        send(first, Signal::SIGKILL);
        let second = tokio::time::timeout(
            limit,
            state.wait_for(|state| state.pid.is_some_and(|pid| pid != first)),
        );
        let second = second.await.unwrap().unwrap().pid.unwrap();
        assert_eq!(child.state().ends, 1);
        assert!(child.state().last_end.unwrap().contains("SIGKILL"));
        assert!(child.stop(&[(Signal::SIGTERM, limit)]).await);
        assert!(Identity::of(second).is_none());
        assert!(!folder.path().join("pid").exists());
    }
}
