//! The real program, as a process.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::Rng as _;

/// How long an orderly end may take before it is a hard one: the broker and the database are shut down in it.
const GRACE: Duration = Duration::from_secs(60);
/// Lines of a log that a failed test shows.
const TAIL: usize = 60;

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// Where the program is: beside the folder of the tests' own programs.
pub fn binary() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let binary = profile.join("xmtp-indexer");
    assert!(
        binary.exists(),
        "{} is missing: these tests run the program itself. Build it with `cargo build -p indexer`, or run bin/test",
        binary.display()
    );
    binary
}

/// A running process of the program. When this is dropped it is told to stop, and made to.
pub struct Program {
    name: String,
    child: Child,
    ended: Option<ExitStatus>,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Program {
    /// Starts the program in a folder, which gets its output. Nothing of the environment of the tests reaches it.
    pub fn start(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Program {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{serial}", arguments.first().unwrap_or(&"program"));
        let file = |kind: &str| folder.join(format!("{name}.{kind}"));
        let (stdout, stderr) = (file("out"), file("log"));
        let child = command(folder, arguments, variables)
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Program { name, child, ended: None, stdout, stderr }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().unwrap();
        }
        self.ended
    }

    /// Kills it, so that it can do nothing about it.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            signal(self.pid(), Signal::SIGKILL);
            self.ended = Some(self.child.wait().unwrap());
        }
    }

    /// Tells it to stop, and says how it ended. One that does not stop is killed, and the test fails.
    pub fn stop(&mut self) -> ExitStatus {
        if self.ended().is_none() {
            signal(self.pid(), Signal::SIGTERM);
        }
        let Some(status) = self.ends_within(GRACE) else {
            self.kill();
            panic!("{} did not stop within {GRACE:?}:\n{}", self.name, self.tail());
        };
        status
    }

    /// Waits for it to end by itself.
    pub fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        while self.ended().is_none() && began.elapsed() < limit {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.ended()
    }

    /// What it printed so far.
    pub fn printed(&self) -> String {
        read(&self.stdout)
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        read(&self.stderr)
    }

    /// The end of what it logged, for people.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Fails if it has ended, with its last words.
    pub fn must_run(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} ended ({status}):\n{}", self.name, self.tail());
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} (process {}) said last:\n{}", self.name, self.pid(), self.tail());
        }
        if self.ended().is_none() {
            signal(self.pid(), Signal::SIGTERM);
            if self.ends_within(GRACE).is_none() {
                self.kill();
            }
        }
    }
}

/// An address that stays the same over restarts: below the range from which ports of outgoing connections are taken.
pub fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::rng().random_range(20_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Runs the program to its end.
pub fn run(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    command(folder, arguments, variables).output().unwrap()
}

/// Runs the program to its end, which must be a good one, and gives what it printed.
pub fn succeed(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let output = run(folder, arguments, variables);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?} ended with {}: {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Sends a signal to a process that is ours, or was.
pub fn signal(pid: u32, signal: Signal) {
    // It may have gone by itself.
    let _ = kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal);
}

fn command(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary());
    // A folder of its own: no configuration file and no data of others.
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command.env("RUST_LOG", "info,lapin=off");
    for (name, value) in variables {
        command.env(name, value);
    }
    command
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
