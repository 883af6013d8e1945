//! A private RabbitMQ node as child processes: the broker, and Erlang's port mapper (epmd) beside
//! it. Left to itself, the broker would start a port mapper that outlives it.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    error::EmbeddedError,
    first_start::FirstStart,
    output::Output,
    owner::{Owner, PATH},
    ports::Ports,
    process::{Identity, runs_in},
    secrets::Secrets,
    supervisor::{Recipe, Supervised},
    tuning,
};

const NAME: &str = "RabbitMQ";
const USER: &str = "xmtp";

/// `@localhost` whatever the machine is called: the node's data are kept under its name.
const NODE: &str = "xmtpidx@localhost";

/// The folder in which a process was started, whatever it is called.
const WORKING_FOLDER: &str = "/proc/self/cwd";

/// A boot takes 5 to 25 s of one core.
const START: Duration = Duration::from_secs(240);

/// So many ends while somebody waits, and it will not come up.
const ENDS: u32 = 4;

const GRACEFUL: &[(Signal, Duration)] =
    &[(Signal::SIGTERM, Duration::from_secs(20)), (Signal::SIGKILL, Duration::from_secs(5))];
const HARD: &[(Signal, Duration)] = &[(Signal::SIGKILL, Duration::from_secs(5))];

/// The programs: Debian's `/usr/sbin/rabbitmq-server` insists on the package's own user, and does
/// not take the settings of another node.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    server: PathBuf,
    epmd: PathBuf,
}

impl Programs {
    pub(crate) fn find() -> Result<Self, EmbeddedError> {
        let missing = EmbeddedError::NotInstalled {
            what: NAME,
            package: "rabbitmq-server",
            variable: "AMQP_URL",
        };
        let server = PathBuf::from("/usr/lib/rabbitmq/bin/rabbitmq-server");
        let epmd = PATH.split(':').map(|folder| Path::new(folder).join("epmd"));
        let epmd = epmd.into_iter().find(|path| path.is_file());
        match epmd {
            Some(epmd) if server.is_file() => Ok(Self { server, epmd }),
            _ => Err(missing),
        }
    }
}

/// What a start needs to know.
pub(crate) struct Plan {
    pub(crate) folder: PathBuf,
    pub(crate) logs: PathBuf,
    pub(crate) pids: PathBuf,
    pub(crate) programs: Programs,
    pub(crate) owner: Owner,
    pub(crate) ports: Ports,
    pub(crate) secrets: Secrets,
    pub(crate) memory: u64,
    pub(crate) first_start: FirstStart,
}

/// The broker, booting or up.
pub(crate) struct RabbitMq {
    broker: Supervised,
    epmd: Supervised,
    first_start: FirstStart,
    port: u16,
    url: String,
}

impl Plan {
    /// Starts both children and returns: the broker takes seconds to boot.
    pub(crate) async fn start(self) -> Result<RabbitMq, EmbeddedError> {
        self.owner.folder(&self.folder)?;
        self.first_start.prepare()?;
        self.configure()?;
        let epmd = Supervised::start(self.epmd())?;
        let broker = match Supervised::start(self.broker()) {
            Ok(broker) => broker,
            Err(error) => {
                epmd.stop(HARD).await;
                return Err(error);
            }
        };
        let port = self.ports.amqp;
        let url = format!("amqp://{USER}:{}@127.0.0.1:{port}/%2f", self.secrets.amqp);
        Ok(RabbitMq { broker, epmd, first_start: self.first_start, port, url })
    }

    fn configure(&self) -> Result<(), EmbeddedError> {
        for name in ["home", "mnesia", "log", "conf"] {
            self.owner.folder(&self.folder.join(name))?;
        }
        let cookie = self.folder.join("home/.erlang.cookie");
        self.owner.file(&cookie, &self.secrets.cookie)?;
        // Erlang insists on this mode.
        self.owner.give(&cookie, 0o400)?;
        self.owner.file(&self.folder.join("conf/enabled_plugins"), "[].\n")?;
        let settings = [
            ("listeners.tcp.1", format!("127.0.0.1:{}", self.ports.amqp)),
            ("default_user", USER.to_owned()),
            ("default_pass", self.secrets.amqp.clone()),
            ("log.console", "false".to_owned()),
            ("log.file.level", "info".to_owned()),
            ("log.file.rotation.size", (8 << 20).to_string()),
            ("log.file.rotation.count", "2".to_owned()),
            ("vm_memory_high_watermark.absolute", tuning::broker_memory(self.memory).to_string()),
            ("disk_free_limit.absolute", "256MB".to_owned()),
            // The journal of quorum queues is also held in memory: 512 MiB unless told.
            ("raft.wal_max_size_bytes", (64 << 20).to_string()),
        ];
        let mut settings = settings.to_vec();
        if !self.first_start.is_open() {
            // `default_pass` is for a new broker only; this keeps the password that of `secrets.json`, also in a copy.
            let definitions = serde_json::json!({
                "vhosts": [{ "name": "/" }],
                "users": [{ "name": USER, "password": self.secrets.amqp, "tags": "administrator" }],
                "permissions":
                    [{ "user": USER, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*" }],
            });
            self.owner
                .file(&self.folder.join("conf/definitions.json"), &definitions.to_string())?;
            settings.push(("load_definitions", format!("{WORKING_FOLDER}/conf/definitions.json")));
        }
        let text: String =
            settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        self.owner.file(&self.folder.join("conf/rabbitmq.conf"), &text)
    }

    fn epmd(&self) -> Recipe {
        let (owner, program) = (self.owner.clone(), self.programs.epmd.clone());
        let (folder, port) = (self.folder.clone(), self.ports.epmd.to_string());
        Recipe {
            name: "epmd",
            pid_file: self.pids.join("epmd.pid"),
            output: Output::new(self.logs.join("epmd.log")),
            command: Box::new(move || {
                let mut command = owner.command(&program, Signal::SIGTERM);
                command.current_dir(&folder).args(["-port", &port, "-address", "127.0.0.1"]);
                command
            }),
        }
    }

    fn broker(&self) -> Recipe {
        let (owner, program) = (self.owner.clone(), self.programs.server.clone());
        let (folder, environment) = (self.folder.clone(), self.environment());
        Recipe {
            name: NAME,
            pid_file: self.pids.join("rabbitmq.pid"),
            output: Output::new(self.logs.join("rabbitmq.log")),
            command: Box::new(move || {
                let mut command = owner.command(&program, Signal::SIGTERM);
                command.current_dir(&folder).envs(environment.iter().map(|(k, v)| (k, v)));
                command
            }),
        }
    }

    fn environment(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        // The working folder, because the broker puts paths into shell commands and cannot handle quotes in them.
        let at = |name: &str| Path::new(WORKING_FOLDER).join(name).into_os_string();
        let port = |port: u16| port.to_string().into();
        vec![
            ("HOME", at("home")),
            ("RABBITMQ_NODENAME", NODE.into()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".into()),
            ("RABBITMQ_NODE_PORT", port(self.ports.amqp)),
            ("RABBITMQ_DIST_PORT", port(self.ports.distribution)),
            ("ERL_EPMD_PORT", port(self.ports.epmd)),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".into()),
            // Without this the distribution port listens on every address.
            (
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1}".into(),
            ),
            // Keeps the machine's own settings out.
            ("RABBITMQ_CONF_ENV_FILE", "/dev/null".into()),
            ("RABBITMQ_CONFIG_FILE", at("conf/rabbitmq.conf")),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", at("conf/advanced.config")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", at("conf/enabled_plugins")),
            ("RABBITMQ_MNESIA_BASE", at("mnesia")),
            ("RABBITMQ_LOG_BASE", at("log")),
            ("RABBITMQ_PID_FILE", at("rabbit.pid")),
            // The start script then replaces itself by the broker, so that our child *is* the
            // broker: signals reach it, and its end is seen. Otherwise a killed script leaves it.
            ("RUNNING_UNDER_SYSTEMD", "true".into()),
        ]
    }
}

impl RabbitMq {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Whether nobody may use it yet; see [`FirstStart`].
    pub(crate) fn is_first_start(&self) -> bool {
        self.first_start.is_open()
    }

    /// Waits until the queues that were declared would survive a crash.
    pub(crate) async fn complete_first_start(&self) -> Result<(), EmbeddedError> {
        if self.first_start.is_open() && self.broker.state().ends > 0 {
            return Err(self.broker.did_not_start("it ended during its first start"));
        }
        self.first_start.complete().await
    }

    pub(crate) fn pids(&self) -> Vec<u32> {
        self.broker.state().pid.into_iter().chain(self.epmd.state().pid).collect()
    }

    /// Waits until the broker answers the opening of AMQP. A port that merely accepts connections
    /// is too early by half a second.
    pub(crate) async fn wait_ready(&self) -> Result<(), EmbeddedError> {
        let deadline = Instant::now() + START;
        // What happened before is forgiven: it may have been up in between.
        let (broker_before, epmd_before) = (self.broker.state().ends, self.epmd.state().ends);
        loop {
            if self.answers().await {
                return Ok(());
            }
            let (broker, epmd) = (self.broker.state(), self.epmd.state());
            if broker.ends > broker_before && self.broker.output().tail().contains("eaddrinuse") {
                return Err(EmbeddedError::PortTaken { service: NAME, port: self.port });
            }
            let children = [(&self.broker, broker, broker_before), (&self.epmd, epmd, epmd_before)];
            for (child, state, before) in children {
                if state.stopped {
                    return Err(child.did_not_start("it was stopped"));
                }
                if state.ends >= before + ENDS {
                    return Err(child.did_not_start(&state.last_end.unwrap_or_default()));
                }
            }
            if Instant::now() >= deadline {
                let limit = START.as_secs();
                let reason = format!("it did not answer in {limit} seconds");
                return Err(self.broker.did_not_start(&reason));
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Sends the header of AMQP 0-9-1 and expects the beginning of a method frame.
    async fn answers(&self) -> bool {
        let ask = async {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).await?;
            stream.write_all(b"AMQP\x00\x00\x09\x01").await?;
            stream.read_u8().await
        };
        matches!(timeout(Duration::from_secs(5), ask).await, Ok(Ok(1)))
    }

    /// The broker first: it tells the port mapper that it goes.
    pub(crate) async fn stop(&self, hard: bool) -> bool {
        let signals = if hard { HARD } else { GRACEFUL };
        let broker = self.broker.stop(signals).await;
        self.epmd.stop(signals).await && broker
    }

    pub(crate) fn abandon(&self) {
        // Not SIGKILL: a queue that was just declared would be lost (see `first_start`).
        self.broker.signal(Signal::SIGTERM);
        self.epmd.signal(Signal::SIGTERM);
    }
}

/// Ends broker and port mapper of a run that was killed.
pub(crate) async fn stop_leftover(folder: &Path, pids: &Path) {
    // The broker's own pid file knows it even when ours could not be written any more.
    let own = fs::read_to_string(folder.join("rabbit.pid"))
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .and_then(Identity::of);
    let recorded = ["rabbitmq.pid", "epmd.pid"].map(|name| Identity::recorded(&pids.join(name)));
    let mut leftovers = vec![];
    leftovers.extend(own);
    leftovers.extend(recorded.into_iter().flatten());
    // The files of a copied folder name the processes of the original.
    leftovers.retain(|leftover| runs_in(leftover.pid(), folder));
    for leftover in leftovers {
        if !leftover.is_alive() {
            continue;
        }
        tracing::info!(pid = leftover.pid(), "a RabbitMQ of an earlier run is still there");
        if !leftover.end(Duration::from_secs(3), GRACEFUL).await {
            tracing::warn!(pid = leftover.pid(), "an earlier RabbitMQ does not end");
        }
    }
}
