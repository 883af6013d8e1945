//! The embedded services, for real: one story, since a broker takes its time to boot. It needs
//! PostgreSQL and RabbitMQ on the machine, and nothing running.

#![cfg(test)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use embedded::{
    Announcement, EmbeddedError, Options, Progress, Services, Stop, memory_bytes, running,
};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, ConnectionProperties,
    options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const QUEUE: &str = "kept";
const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread")]
async fn embedded_services_keep_data_through_kills_and_restarts() {
    let folder = tempfile::tempdir().unwrap();
    // Temporary folders are closed; the user who runs PostgreSQL for root must get through.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let data = folder.path().join("data");
    let seen = std::sync::Mutex::new(Vec::new());
    let services = Services::start(&data, small(), |step| seen.lock().unwrap().push(step.clone()))
        .await
        .unwrap();
    assert!(seen.lock().unwrap().contains(&Progress::CreatingPostgres));

    // The database answers before the broker does.
    let database = services.postgres_url().unwrap().to_owned();
    sql(&database, "create table kept (n int primary key); insert into kept values (1)").unwrap();
    assert_eq!(services.amqp_url(), None, "nobody may use it before its first start is complete");
    let broker = services
        .open_amqp(async |url: &str| {
            declare(url).await?;
            Ok::<_, Box<dyn std::error::Error>>(url.to_owned())
        })
        .await
        .unwrap();
    put(&broker, b"first").await.unwrap();
    loopback_only(&services.pids()).unwrap();

    one_holder_who_is_named(&data).await;
    what_runs_is_announced(&services, &data, &database);
    wrong_password_is_refused(&database);

    // Postgres is killed, and comes back on the same port with its data.
    let before = services.pids();
    kill(server_of(&data).unwrap());
    until("PostgreSQL is back", || sql(&database, "select n from kept").is_ok_and(|n| n == "1"));
    assert_ne!(before, services.pids());

    // So does the broker. Its queue is written down: `open_amqp` waits for that.
    let pid = broker_of(&data).unwrap();
    kill(pid);
    until("the broker was restarted", || broker_of(&data).is_ok_and(|now| now != pid));
    answers(&services).await;
    assert_eq!(take(&broker).await.unwrap(), b"first");
    put(&broker, b"second").await.unwrap();

    // A stop leaves nobody behind, and nothing that is announced.
    let pids = services.pids();
    assert_eq!(pids.len(), 3);
    assert!(services.stop(Stop::Graceful).await);
    for pid in pids {
        assert!(!alive(pid), "{pid} was left behind");
    }
    drop(services);
    assert!(running(&data).unwrap().is_none());

    a_killed_tree_is_recovered(&data, &database);

    // What was there before all of this is still there, in the same places.
    let services = Services::start(&data, small(), |_| {}).await.unwrap();
    assert_eq!(services.postgres_url().unwrap(), database);
    assert_eq!(sql(&database, "select n from kept").unwrap(), "1");
    answers(&services).await;
    assert_eq!(services.amqp_url().unwrap(), broker);
    assert_eq!(take(&broker).await.unwrap(), b"second");
    let pids = services.pids();
    assert!(services.stop(Stop::Hard).await);
    assert!(pids.into_iter().all(|pid| !alive(pid)));
}

/// A whole process with its services, killed at once: children first see their parent die, then the
/// next start finds pid files that lie.
fn a_killed_tree_is_recovered(data: &Path, database: &str) {
    let mut program = Program::start(data, &["services"]);
    until("the program announces", || running(data).is_ok_and(|holder| holder.is_some()));
    let holder = running(data).unwrap().unwrap();
    assert_eq!(holder.pid, program.0.id());
    assert_eq!(holder.database_url.as_deref(), Some(database));
    let children = [server_of(data).unwrap(), broker_of(data).unwrap()];

    // Only the program: the kernel tells its children.
    program.kill();
    for child in children {
        until("children follow their parent", || !alive(child));
    }
    assert!(running(data).unwrap().is_none());

    // All of them at once, and pids in the files that belong to others by now.
    let mut program = Program::start(data, &["services", "--no-rabbitmq"]);
    until("the program announces", || running(data).is_ok_and(|holder| holder.is_some()));
    let server = server_of(data).unwrap();
    kill(server);
    program.kill();
    until("the server is gone", || !alive(server));
    let lock = data.join("postgres/data/postmaster.pid");
    if let Ok(text) = fs::read_to_string(&lock) {
        let stranger = std::process::id().to_string();
        fs::write(&lock, text.replacen(&server.to_string(), &stranger, 1)).unwrap();
    }
    fs::write(data.join("pids/rabbitmq.pid"), format!("{} 1\n", std::process::id())).unwrap();
}

/// The program, which does not outlive a test that fails.
struct Program(Child);

impl Program {
    fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xmtp-indexer"));
        command.args(arguments).arg("--data-dir").arg(data).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

async fn one_holder_who_is_named(data: &Path) {
    let error = Services::start(data, small(), |_| {}).await.err().unwrap();
    assert!(matches!(error, EmbeddedError::Held { pid, .. } if pid == std::process::id()));
    let output = Command::new(env!("CARGO_BIN_EXE_xmtp-indexer"))
        .args(["services", "--data-dir"])
        .arg(data)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains(&format!("in use by process {}", std::process::id())), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

fn what_runs_is_announced(services: &Services, data: &Path, database: &str) {
    assert!(running(data).unwrap().is_none());
    let http_url = Some("http://127.0.0.1:8080".to_owned());
    services.announce(Announcement { http_url, ..Announcement::default() }).unwrap();
    let holder = running(data).unwrap().unwrap();
    assert_eq!(holder.database_url.as_deref(), Some(database));
    assert_eq!(holder.amqp_url.as_deref(), services.amqp_url());
    assert_eq!(holder.http_url.as_deref(), Some("http://127.0.0.1:8080"));
}

fn wrong_password_is_refused(database: &str) {
    let (before, after) = database.split_once('@').unwrap();
    let wrong = format!("{before}x@{after}");
    let said = sql(&wrong, "select 1").unwrap_err().to_string();
    assert!(said.contains("password authentication failed"), "{said}");
}

/// Tuned for a small machine, since others test at the same time.
fn small() -> Options {
    Options { memory_bytes: memory_bytes().min(1 << 30), ..Options::default() }
}

fn sql(url: &str, statement: &str) -> Result<String> {
    let output = Command::new("psql").args([url, "-XAtc", statement]).output()?;
    if output.status.success() {
        return Ok(String::from_utf8(output.stdout)?.trim().to_owned());
    }
    Err(String::from_utf8(output.stderr)?.into())
}

/// Waits until the broker answers.
async fn answers(services: &Services) {
    services.open_amqp(async |_: &str| Ok::<_, EmbeddedError>(())).await.unwrap();
}

async fn declare(url: &str) -> Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    // Kept until the connection is closed: a channel that is dropped closes itself meanwhile.
    let channel = connection.create_channel().await?;
    declare_in(&channel).await?;
    connection.close(200, "done".into()).await?;
    Ok(())
}

async fn declare_in(channel: &Channel) -> Result<()> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    channel.queue_declare(QUEUE.into(), durable, arguments).await?;
    Ok(())
}

async fn put(url: &str, bytes: &[u8]) -> Result<()> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    channel.confirm_select(ConfirmSelectOptions::default()).await?;
    declare_in(&channel).await?;
    let kept = BasicProperties::default().with_delivery_mode(2);
    let confirm = channel
        .basic_publish("".into(), QUEUE.into(), BasicPublishOptions::default(), bytes, kept)
        .await?
        .await?;
    if !matches!(confirm, Confirmation::Ack(_)) {
        return Err("the broker did not take it".into());
    }
    connection.close(200, "done".into()).await?;
    Ok(())
}

/// Takes one envelope off the queue. After a start a quorum queue elects its leader first, and
/// until it has one, asking ends in an error of the whole connection.
async fn take(url: &str) -> Result<Vec<u8>> {
    let since = Instant::now();
    loop {
        match try_take(url).await {
            Ok(Some(bytes)) => return Ok(bytes),
            Ok(None) if since.elapsed() > LIMIT => return Err("the queue stayed empty".into()),
            Err(error) if since.elapsed() > LIMIT => return Err(error),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn try_take(url: &str) -> Result<Option<Vec<u8>>> {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let got = channel.basic_get(QUEUE.into(), BasicGetOptions { no_ack: true }).await?;
    connection.close(200, "done".into()).await?;
    Ok(got.map(|got| got.delivery.data))
}

fn server_of(data: &Path) -> Result<u32> {
    let text = fs::read_to_string(data.join("postgres/data/postmaster.pid"))?;
    Ok(text.lines().next().ok_or("empty")?.parse()?)
}

fn broker_of(data: &Path) -> Result<u32> {
    let text = fs::read_to_string(data.join("pids/rabbitmq.pid"))?;
    Ok(text.split(' ').next().ok_or("empty")?.parse()?)
}

/// Every listening socket of these processes is on a loopback address.
fn loopback_only(pids: &[u32]) -> Result<()> {
    let mut seen = 0;
    for pid in pids {
        let sockets: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))?
            .flatten()
            .filter_map(|fd| fs::read_link(fd.path()).ok()?.to_str().map(str::to_owned))
            .filter_map(|name| Some(name.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
        for (table, loopback) in [("tcp", "0100007F"), ("tcp6", "00000000000000000000000001000000")]
        {
            for line in fs::read_to_string(format!("/proc/{pid}/net/{table}"))?.lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields[..] else { continue };
                if sockets.iter().any(|socket| socket == inode) {
                    seen += 1;
                    if !local.starts_with(loopback) {
                        return Err(format!("{pid} listens on {local}").into());
                    }
                }
            }
        }
    }
    // PostgreSQL, AMQP, distribution, port mapper.
    if seen < 4 { Err(format!("only {seen} listening sockets seen").into()) } else { Ok(()) }
}

fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
}

fn kill(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < LIMIT, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
