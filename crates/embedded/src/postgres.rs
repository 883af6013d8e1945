//! A private PostgreSQL cluster as a child process.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::{
    error::{Context, EmbeddedError},
    output::Output,
    owner::Owner,
    process::{Identity, has_argument},
    supervisor::{Recipe, Supervised},
    tuning,
};

const NAME: &str = "PostgreSQL";
const USER: &str = "postgres";
const DATABASE: &str = "xmtp_indexer";

/// Says that the password in `secrets.json` is newer than the cluster's.
pub(crate) const STALE_PASSWORD: &str = "password-stale";

/// How long a child of an initdb that was killed may go on.
const LEFTOVER: Duration = Duration::from_secs(30);

/// How long a start may take; recovery after a crash replays up to `max_wal_size`.
const START: Duration = Duration::from_secs(120);

/// So many ends in a row, and a start has failed. The first few can heal: backends of a killed
/// server hold its shared memory for a moment.
const ENDS: u32 = 5;

/// What a socket's path may be long, in bytes, with the name that the server adds.
const SOCKET_PATH: usize = 107 - "/.s.PGSQL.65535".len();

/// Fast shutdown: clients are told to go. Then like a crash, from which the next start recovers.
const GRACEFUL: &[(Signal, Duration)] = &[
    (Signal::SIGINT, Duration::from_secs(30)),
    (Signal::SIGQUIT, Duration::from_secs(5)),
    (Signal::SIGKILL, Duration::from_secs(5)),
];
const HARD: &[(Signal, Duration)] =
    &[(Signal::SIGQUIT, Duration::from_secs(3)), (Signal::SIGKILL, Duration::from_secs(5))];

/// Where PostgreSQL's programs are, and which version they are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    bin: PathBuf,
    major: u32,
}

impl Programs {
    /// The programs that fit the cluster in this folder, or the newest for a new one.
    pub(crate) fn find(folder: &Path) -> Result<Self, EmbeddedError> {
        let mut found = installed();
        found.sort_by_key(|programs| programs.major);
        let newest = found.last().cloned().ok_or(EmbeddedError::NotInstalled {
            what: NAME,
            package: "postgresql",
            variable: "DATABASE_URL",
        })?;
        let Ok(version) = fs::read_to_string(folder.join("data/PG_VERSION")) else {
            return Ok(newest);
        };
        let data = version.trim().parse().unwrap_or_default();
        let fitting = found.iter().find(|programs| programs.major == data).cloned();
        fitting.ok_or_else(|| EmbeddedError::OtherVersion {
            folder: folder.to_path_buf(),
            data,
            installed: found.iter().map(|p| p.major.to_string()).collect::<Vec<_>>().join(", "),
        })
    }
}

/// Debian keeps each major version in a folder of its own, outside of `PATH`.
fn installed() -> Vec<Programs> {
    let Ok(versions) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    versions
        .flatten()
        .filter_map(|version| {
            let major = version.file_name().to_str()?.parse().ok()?;
            let bin = version.path().join("bin");
            ["postgres", "initdb", "createdb"]
                .iter()
                .all(|program| bin.join(program).is_file())
                .then_some(Programs { bin, major })
        })
        .collect()
}

/// What a start needs to know.
pub(crate) struct Plan {
    pub(crate) folder: PathBuf,
    pub(crate) log: PathBuf,
    pub(crate) pids: PathBuf,
    pub(crate) programs: Programs,
    pub(crate) owner: Owner,
    pub(crate) port: u16,
    pub(crate) password: String,
    pub(crate) memory: u64,
    pub(crate) free_disk: u64,
    pub(crate) settings: Vec<(&'static str, String)>,
}

/// The running cluster.
pub(crate) struct Postgres {
    child: Supervised,
    url: String,
    /// The address of its socket, where the folder's path leaves room for one.
    socket: Option<String>,
}

impl Plan {
    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Whether the cluster is there.
    pub(crate) fn is_created(&self) -> bool {
        self.data().join("PG_VERSION").exists()
    }

    /// Makes the cluster. Under another name until it is complete: a start that
    /// is killed in between leaves nothing that looks like a cluster.
    pub(crate) async fn create(&self) -> Result<(), EmbeddedError> {
        let partial = self.folder.join("data.partial");
        // A killed initdb leaves a child that goes on writing for a moment, until it reads the end of its input.
        let deadline = Instant::now() + LEFTOVER;
        while partial.exists() {
            match fs::remove_dir_all(&partial) {
                Err(_) if Instant::now() < deadline => sleep(Duration::from_millis(50)).await,
                removed => removed.context(|| format!("remove {}", partial.display()))?,
            }
        }
        let password = self.folder.join("password");
        self.owner.file(&password, &self.password)?;
        let mut command = self.command("initdb", Signal::SIGKILL);
        command.arg("-D").arg(&partial).args(["-U", USER, "-A", "scram-sha-256", "-E", "UTF8"]);
        command.args(["--no-locale", "--no-instructions"]).arg("--pwfile").arg(&password);
        let made = self.run(command, String::new()).await;
        fs::remove_file(&password).context(|| format!("remove {}", password.display()))?;
        made?;
        fs::rename(&partial, self.data()).context(|| format!("name {}", self.data().display()))
    }

    fn stale_password(&self) -> PathBuf {
        self.folder.join(STALE_PASSWORD)
    }

    /// Gives the superuser the password of `secrets.json` where that was made anew. Without a server: nobody can
    /// connect before it is done, and the old password is not needed.
    pub(crate) async fn renew_password(&self) -> Result<(), EmbeddedError> {
        let stale = self.stale_password();
        if !stale.exists() {
            return Ok(());
        }
        clear_stale(&self.data(), &self.data().join("none"));
        let mut command = self.command("postgres", Signal::SIGQUIT);
        command.arg("--single").arg("-D").arg(self.data()).arg("postgres");
        let statement = format!("alter role {USER} password '{}'\n", self.password);
        self.run(command, statement).await?;
        fs::remove_file(&stale).context(|| format!("remove {}", stale.display()))
    }

    /// Starts the server, waits until it answers, and makes the database in it.
    pub(crate) async fn start(self) -> Result<Postgres, EmbeddedError> {
        let child = Supervised::start(self.recipe())?;
        let url = format!("postgres://{USER}:{}@127.0.0.1:{}/{DATABASE}", self.password, self.port);
        let socket = self.socket_folder().map(|folder| {
            format!(
                "postgres://{USER}:{}@{}:{}/{DATABASE}",
                self.password,
                encoded(&folder),
                self.port
            )
        });
        let postgres = Postgres { child, url, socket };
        let ready = match self.wait_ready(&postgres.child).await {
            Ok(()) => self.create_database().await,
            failed => failed,
        };
        if let Err(error) = ready {
            postgres.stop(true).await;
            return Err(error);
        }
        Ok(postgres)
    }

    fn sockets(&self) -> PathBuf {
        self.folder.join("sock")
    }

    /// Where the server's socket is; none where its path is too long or could not be written in a URL.
    fn socket_folder(&self) -> Option<PathBuf> {
        let usable = |folder: &PathBuf| {
            let path = folder.as_os_str().as_encoded_bytes();
            // Clients take `,/` for the beginning of another host.
            path.len() <= SOCKET_PATH && !path.windows(2).any(|pair| pair == b",/")
        };
        Some(self.sockets()).filter(usable)
    }

    fn recipe(&self) -> Recipe {
        let (data, sockets) = (self.data(), self.sockets());
        let mut settings = tuning::postgres(self.programs.major, self.memory, self.free_disk);
        settings.extend(self.settings.iter().cloned());
        settings.push(("listen_addresses", "127.0.0.1".to_owned()));
        settings.push(("port", self.port.to_string()));
        let place = self.socket_folder().map_or_else(String::new, |place| quoted(&place));
        settings.push(("unix_socket_directories", place));
        if small_shared_memory() {
            settings.push(("dynamic_shared_memory_type", "mmap".to_owned()));
        }
        let (owner, folder) = (self.owner.clone(), self.folder.clone());
        let program = self.programs.bin.join("postgres");
        let port = self.port;
        Recipe {
            name: NAME,
            pid_file: self.pids.join("postgres.pid"),
            output: Output::new(self.log.clone()),
            command: Box::new(move || {
                clear_stale(&data, &sockets.join(format!(".s.PGSQL.{port}.lock")));
                let mut command = owner.command(&program, Signal::SIGINT);
                command.current_dir(&folder).arg("-D").arg(&data);
                for (key, value) in &settings {
                    command.arg("-c").arg(format!("{key}={value}"));
                }
                command
            }),
        }
    }

    /// The server writes its state into its pid file, for `pg_ctl`, which waits the same way.
    async fn wait_ready(&self, child: &Supervised) -> Result<(), EmbeddedError> {
        let pid_file = self.data().join("postmaster.pid");
        let deadline = Instant::now() + START;
        loop {
            let state = child.state();
            if let (Some(pid), Ok(text)) = (state.pid, fs::read_to_string(&pid_file)) {
                let mut lines = text.lines();
                let ours = lines.next().is_some_and(|line| line.trim() == pid.to_string());
                if ours && lines.nth(6).is_some_and(|line| line.trim() == "ready") {
                    return Ok(());
                }
            }
            if state.ends > 0 {
                let words = child.output().tail();
                if words.contains("could not bind") || words.contains("could not create any TCP") {
                    return Err(EmbeddedError::PortTaken { service: NAME, port: self.port });
                }
                if words.contains("No space left on device") {
                    return Err(self.disk_full());
                }
            }
            if state.ends >= ENDS {
                return Err(child.did_not_start(&state.last_end.unwrap_or_default()));
            }
            if Instant::now() >= deadline {
                let limit = START.as_secs();
                return Err(child.did_not_start(&format!("it was not ready in {limit} seconds")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Once; a file remembers it.
    async fn create_database(&self) -> Result<(), EmbeddedError> {
        let done = self.folder.join("database-created");
        if done.exists() {
            return Ok(());
        }
        let mut command = self.command("createdb", Signal::SIGKILL);
        command.args(["-h", "127.0.0.1", "-U", USER, "--maintenance-db=postgres", DATABASE]);
        command.arg("-p").arg(self.port.to_string()).env("PGPASSWORD", &self.password);
        match self.run(command, String::new()).await {
            // Made by a start that ended before it could write that down.
            Err(EmbeddedError::DidNotStart { reason, .. }) if reason.contains("already exists") => {
            }
            other => other?,
        }
        self.owner.file(&done, "")
    }

    fn command(&self, program: &str, on_our_death: Signal) -> Command {
        let mut command = self.owner.command(&self.programs.bin.join(program), on_our_death);
        command.current_dir(&self.folder);
        command
    }

    /// Runs a program to its end, with this as its input.
    async fn run(&self, mut command: Command, input: String) -> Result<(), EmbeddedError> {
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let run = move || {
            let mut child = command.spawn()?;
            // A program that does not read its input may be gone already.
            child.stdin.take().map(|mut stdin| stdin.write_all(input.as_bytes()));
            child.wait_with_output()
        };
        let output = tokio::task::spawn_blocking(run)
            .await
            .map_err(std::io::Error::other)
            .and_then(|output| output)
            .context(|| "run a program of PostgreSQL".to_owned())?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr);
        _ = fs::write(&self.log, words.as_bytes());
        if words.contains("No space left on device") {
            return Err(self.disk_full());
        }
        let telling = words.lines().find(|line| line.contains("error:") || line.contains("FATAL"));
        let reason = telling.or(words.lines().next()).unwrap_or("it failed silently").to_owned();
        Err(EmbeddedError::DidNotStart { service: NAME, reason, log: self.log.clone() })
    }

    fn disk_full(&self) -> EmbeddedError {
        crate::disk::full(&self.folder)
    }
}

impl Postgres {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its address for a process on this machine: a socket costs less than a connection by TCP.
    pub(crate) fn local_url(&self) -> &str {
        self.socket.as_deref().unwrap_or(&self.url)
    }

    /// Where somebody else on this machine finds it.
    pub(crate) fn url_as(&self, user: &str, password: &str) -> String {
        let url = self.local_url();
        let host = url.rsplit_once('@').map_or(url, |(_, host)| host);
        format!("postgres://{user}:{password}@{host}")
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.state().pid
    }

    pub(crate) async fn stop(&self, hard: bool) -> bool {
        self.child.stop(if hard { HARD } else { GRACEFUL }).await
    }

    pub(crate) fn abandon(&self) {
        self.child.signal(Signal::SIGQUIT);
    }
}

/// A path as an element of a list in PostgreSQL's settings: a comma would otherwise end it.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('"', "\"\""))
}

/// A path in the place of a host.
fn encoded(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let bytes = path.as_os_str().as_encoded_bytes().iter();
    bytes
        .map(
            |&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") },
        )
        .collect()
}

/// Ends the server of a run that was killed, if it still goes down or still serves.
pub(crate) async fn stop_leftover(folder: &Path, pids: &Path) {
    let data = folder.join("data");
    let ours = |identity: &Identity| has_argument(identity.pid(), &data);
    let recorded = Identity::recorded(&pids.join("postgres.pid")).filter(ours);
    let by_itself = postmaster(&data).and_then(Identity::of).filter(ours);
    for leftover in recorded.into_iter().chain(by_itself) {
        tracing::info!(pid = leftover.pid(), "a PostgreSQL of an earlier run is still there");
        if !leftover.end(Duration::from_secs(3), GRACEFUL).await {
            tracing::warn!(pid = leftover.pid(), "an earlier PostgreSQL does not end");
        }
    }
}

fn postmaster(data: &Path) -> Option<u32> {
    fs::read_to_string(data.join("postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

/// PostgreSQL takes any living process for its predecessor, if it has the pid in the old pid file:
/// a stranger that got the same pid, or a corpse that nobody reaped. Those are removed here; what
/// protects the data from two servers (the shared memory that belongs to the folder) stays.
fn clear_stale(data: &Path, socket_lock: &Path) {
    for lock in [&data.join("postmaster.pid"), socket_lock] {
        let Ok(text) = fs::read_to_string(lock) else { continue };
        let pid: Option<u32> = text.lines().next().and_then(|line| line.trim().parse().ok());
        let lives = pid.is_some_and(|pid| Identity::of(pid).is_some() && has_argument(pid, data));
        if !lives && let Err(error) = fs::remove_file(lock) {
            tracing::warn!(file = %lock.display(), %error, "a stale lock could not be removed");
        }
    }
}

/// Containers often have 64 MiB there, which parallel queries exhaust.
fn small_shared_memory() -> bool {
    nix::sys::statvfs::statvfs("/dev/shm")
        .is_ok_and(|shm| shm.blocks() * shm.fragment_size() < 256 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_lock_with_the_pid_of_a_stranger_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let lock = folder.path().join("postmaster.pid");
        fs::write(&lock, format!("{}\n", std::process::id())).unwrap();
        clear_stale(folder.path(), &folder.path().join("absent"));
        assert!(!lock.exists());
    }
}
