//! The program as a child process, and what is asked of it.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use nix::{sys::signal::Signal, unistd::Pid};

/// How long a condition may take to hold, on a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// A program that does not outlive a test that fails. What it prints is kept.
pub(crate) struct Process {
    child: Child,
    said: Vec<JoinHandle<String>>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Process {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        // Its end of a pipe that the test made is closed here, too.
        drop(command);
        let mut said = Vec::new();
        let mut keep = |stream: Option<Box<dyn std::io::Read + Send>>| {
            if let Some(mut stream) = stream {
                said.push(std::thread::spawn(move || {
                    let mut text = Vec::new();
                    stream.read_to_end(&mut text).ok();
                    String::from_utf8_lossy(&text).into_owned()
                }));
            }
        };
        keep(child.stdout.take().map(|stream| Box::new(stream) as _));
        keep(child.stderr.take().map(|stream| Box::new(stream) as _));
        Process { child, said }
    }

    /// Fails the test when it has ended.
    pub(crate) fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            let said: String = self.said.drain(..).map(|one| one.join().unwrap()).collect();
            panic!("it ended with {status}: {said}");
        }
    }

    pub(crate) fn terminate(&self) {
        signal(self.child.id(), Signal::SIGTERM);
    }

    /// Waits for its end, which must come within the budget of a shutdown; its exit code, and what it printed.
    pub(crate) fn ended(&mut self) -> (Option<i32>, String) {
        let since = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(since.elapsed() < Duration::from_secs(35), "it does not stop");
            std::thread::sleep(Duration::from_millis(50));
        };
        (status.code(), self.said.drain(..).map(|one| one.join().unwrap()).collect())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

fn signal(pid: u32, signal: Signal) {
    nix::sys::signal::kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap();
}

/// Kills the private PostgreSQL of a data folder, whose supervisor starts it again.
pub(crate) fn kill_postgres(data: &Path) {
    let text = fs::read_to_string(data.join("postgres/data/postmaster.pid")).unwrap();
    signal(text.lines().next().unwrap().parse().unwrap(), Signal::SIGKILL);
}

/// Lets the user through who runs PostgreSQL for root.
pub(crate) fn open_to_all(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o711)).unwrap();
}

/// A server of the tests, by the variable that names it.
#[expect(clippy::disallowed_methods, reason = "tests get their servers from the environment")]
pub(crate) fn server(variable: &str) -> String {
    std::env::var(variable).expect("bin/test starts the servers and names them")
}

/// Where programs are.
#[expect(clippy::disallowed_methods, reason = "a child without an environment finds nothing else")]
pub(crate) fn path() -> String {
    std::env::var("PATH").unwrap()
}

/// The whole response to a GET; none while nobody answers.
pub(crate) fn get(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < LIMIT, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
