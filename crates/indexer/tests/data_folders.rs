//! Data folders whose first start was cut short, copies of folders that are in use, and folders with unusual names. With the
//! program itself, its PostgreSQL and its RabbitMQ.

#![cfg(test)]

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use embedded::{Running, running};
use ingest::{Names, Queue};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use store::Page;

const LIMIT: Duration = Duration::from_secs(240);

/// The program on a data folder. Dropping it stops the program.
struct Services(Child);

impl Services {
    fn start(data: &Path) -> Services {
        Self::run(data, &["services"])
    }

    fn run(data: &Path, arguments: &[&str]) -> Services {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xmtp-indexer"));
        command.args(arguments).arg("--data-dir").arg(data).env("RUST_LOG", "warn");
        // With addresses of its own, `up` starts no services.
        command.env_remove("DATABASE_URL").env_remove("AMQP_URL");
        Services(command.stdout(Stdio::null()).spawn().unwrap())
    }

    /// Waits until both services can be used.
    fn ready(&mut self, data: &Path) -> Running {
        until("both services are announced", || {
            assert!(self.0.try_wait().unwrap().is_none(), "it ended");
            running(data).ok().flatten().filter(|running| running.amqp_url.is_some())
        })
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        signal(self.0.id(), Signal::SIGTERM);
        _ = self.0.wait();
    }
}

/// The moments of a first start at which it is killed, in milliseconds after its data folder or its first queue appeared.
/// The second kind is where RabbitMQ forgets a queue that it has declared.
const MOMENTS: [(&str, u64); 7] = [
    ("lock", 100),
    ("postgres/data.partial/PG_VERSION", 100),
    ("lock", 900),
    ("rabbitmq/first-start", 1_500),
    ("queue", 0),
    ("queue", 150),
    ("queue", 400),
];

/// Every moment is killed for real: the program and the broker at once, so that neither can finish anything.
#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_is_killed_at_any_moment_is_completed_by_the_next() {
    let step = std::env::var_os("FIRST_START_STEP_MS").map(|step| step.to_str().unwrap().parse());
    let moments: Vec<(&str, u64)> = match step {
        // Slow: every so many milliseconds of the first ten seconds.
        Some(step) => (0..10_000).step_by(step.unwrap()).map(|ms| ("lock", ms)).collect(),
        None => MOMENTS.to_vec(),
    };
    for (mark, after) in moments {
        let folder = folder();
        let data = folder.path().join("data");
        let mut services = Services::start(&data);
        let began = until("the mark is there", || {
            let seen = match mark {
                "queue" => queue_folder(&data).is_some(),
                mark => data.join(mark).exists(),
            };
            seen.then(Instant::now)
        });
        until("the moment has come", || {
            (began.elapsed() >= Duration::from_millis(after)).then_some(())
        });
        let broker = fs::read_to_string(data.join("pids/rabbitmq.pid")).unwrap_or_default();
        signal(services.0.id(), Signal::SIGKILL);
        if let Some(Ok(pid)) = broker.split(' ').next().map(str::parse::<u32>) {
            signal(pid, Signal::SIGKILL);
        }
        services.0.wait().unwrap();

        let mut services = Services::start(&data);
        let url = services.ready(&data).amqp_url.unwrap();
        carries_a_page(&url, Names::default(), &format!("killed {after} ms after {mark}")).await;
    }
}

/// A page goes into the queue, is confirmed and comes out again.
async fn carries_a_page(url: &str, names: Names, what: &str) {
    let queue = Queue::at(url, names, "test").unwrap();
    let page = Page { source: "test".into(), progress: Vec::new(), records: Vec::new() };
    let carried = async {
        // The broker of a folder that was used before is announced while it boots.
        while queue.declare().await.is_err() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ingest::queue::limit::measure(&queue, vec![page]).await
    };
    let carried = tokio::time::timeout(Duration::from_secs(60), carried).await;
    carried.unwrap_or_else(|_| panic!("{what}: the queue stands still")).unwrap();
}

/// A copy that is made while the original runs, and started beside it.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_gets_an_identity_of_its_own_and_the_original_notices_nothing() {
    let folder = folder();
    let (original, copy) = (folder.path().join("original"), folder.path().join("copy"));
    let mut services = Services::start(&original);
    let ours = services.ready(&original);
    let pids = children(&original);
    let copied = Command::new("cp").arg("-a").args([&original, &copy]).status().unwrap();
    assert!(copied.success());

    let mut second = Services::start(&copy);
    let theirs = second.ready(&copy);
    let parts = |url: &Option<String>| -> (String, String) {
        let (login, address) = url.as_ref().unwrap().rsplit_once('@').unwrap();
        (login.to_owned(), address.to_owned())
    };
    for (ours, theirs) in
        [(&ours.database_url, &theirs.database_url), (&ours.amqp_url, &theirs.amqp_url)]
    {
        assert_ne!(parts(ours).0, parts(theirs).0, "the passwords are the same");
        assert_ne!(parts(ours).1, parts(theirs).1, "the ports are the same");
    }
    let cookie =
        |data: &Path| fs::read(data.join("rabbitmq").join("home").join(".erlang.cookie")).unwrap();
    assert_ne!(cookie(&original), cookie(&copy));

    // Each answers with its own password, and not with the other's.
    let (ours_url, theirs_url) =
        (ours.database_url.clone().unwrap(), theirs.database_url.clone().unwrap());
    assert!(sql(&ours_url).status.success() && sql(&theirs_url).status.success());
    let mixed = format!("{}@{}", parts(&ours.database_url).0, parts(&theirs.database_url).1);
    let refused = String::from_utf8(sql(&mixed).stderr).unwrap();
    assert!(refused.contains("password authentication failed"), "{refused}");
    let mixed = format!("{}@{}", parts(&ours.amqp_url).0, parts(&theirs.amqp_url).1);
    assert!(Queue::connect(&mixed, Names::default(), "test").await.is_err());
    carries_a_page(theirs.amqp_url.as_ref().unwrap(), Names::prefixed("own").unwrap(), "the copy")
        .await;

    // The original's processes are those from before, and its queue is its own.
    assert_eq!(children(&original), pids);
    assert!(pids.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    carries_a_page(ours.amqp_url.as_ref().unwrap(), Names::default(), "the original").await;
    drop(second);
    assert_eq!(children(&original), pids);
    carries_a_page(ours.amqp_url.as_ref().unwrap(), Names::default(), "the original").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_with_unusual_names_work() {
    for name in ["my data, ü", "a \"quote\", it's %d$HOME \\ here"] {
        let folder = folder();
        let data = folder.path().join(name);
        // Once to make the folder, once more on what is there.
        for (round, arguments) in
            [("new", &["services"][..]), ("used", &["up", "--listen", "127.0.0.1:0"])]
        {
            let mut services = Services::run(&data, arguments);
            let running = services.ready(&data);
            assert!(sql(running.database_url.as_ref().unwrap()).status.success(), "{name}");
            let what = format!("{name}, {round}");
            carries_a_page(
                running.amqp_url.as_ref().unwrap(),
                Names::prefixed("other").unwrap(),
                &what,
            )
            .await;
            assert!(socket(&data), "{what}: no socket");
        }
    }
}

#[test]
fn a_line_break_in_the_name_is_refused_with_a_sentence() {
    let folder = folder();
    for command in ["services", "up"] {
        let output = Command::new(env!("CARGO_BIN_EXE_xmtp-indexer"))
            .args([command, "--data-dir"])
            .arg(folder.path().join("two\nlines"))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("two\\nlines") && said.contains("choose another folder"), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("error")).count(), 1, "{said}");
    }
}

/// A folder through which the user gets who runs the services for root.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

fn queue_folder(data: &Path) -> Option<PathBuf> {
    let node = data.join("rabbitmq/mnesia/xmtpidx@localhost/quorum/xmtpidx@localhost");
    let mut entries = fs::read_dir(node).ok()?.flatten().map(|entry| entry.path());
    entries.find(|path| path.is_dir())
}

fn socket(data: &Path) -> bool {
    let mut entries = fs::read_dir(data.join("postgres/sock")).unwrap().flatten();
    entries.any(|entry| entry.path().extension() != Some(OsStr::new("lock")))
}

/// The processes of a folder's services, as they are written down.
fn children(data: &Path) -> Vec<u32> {
    let pid = |file: &str| {
        let text = fs::read_to_string(data.join("pids").join(file)).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    ["postgres.pid", "rabbitmq.pid", "epmd.pid"].map(pid).to_vec()
}

fn sql(url: &str) -> Output {
    Command::new("psql").args([url, "-XAtc", "select 1"]).output().unwrap()
}

fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).ok();
}

fn until<T>(what: &str, mut holds: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(value) = holds() {
            return value;
        }
        assert!(since.elapsed() < LIMIT, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
