//! A RabbitMQ cluster of the test's own: real nodes on loopback, which can be killed and started again.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    folder::Folder,
    patience::{LONG, until},
    program::signal,
};

/// Where the distribution keeps the programs: those in `/usr/sbin` insist on a user of the package.
const PROGRAMS: &str = "/usr/lib/rabbitmq/bin";
const USER: &str = "tester";
const PASSWORD: &str = "clustered";

/// Nodes that know each other. All of them end with this.
pub struct Cluster {
    folder: Folder,
    epmd: Child,
    epmd_port: u16,
    nodes: Vec<Node>,
}

struct Node {
    name: String,
    port: u16,
    distribution_port: u16,
    child: Option<Child>,
}

impl Cluster {
    /// Starts so many nodes, with further settings of `rabbitmq.conf` and `advanced.config`.
    pub async fn start(nodes: usize, settings: &str, advanced: &str) -> Cluster {
        let folder = Folder::new();
        let epmd_port = free_port();
        let port = epmd_port.to_string();
        let epmd = Command::new("epmd")
            .args(["-port", &port, "-address", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nodes = (0..nodes).map(|number| Node {
            name: format!("node{number}@localhost"),
            port: free_port(),
            distribution_port: free_port(),
            child: None,
        });
        let mut cluster = Cluster { folder, epmd, epmd_port, nodes: nodes.collect() };
        for number in 0..cluster.nodes.len() {
            cluster.configure(number, settings, advanced);
        }
        // The first one is up before the others look for a cluster to join.
        for number in 0..cluster.nodes.len() {
            cluster.start_node(number);
            if number == 0 {
                cluster.is_up(0).await;
            }
        }
        for number in 1..cluster.nodes.len() {
            cluster.is_up(number).await;
        }
        cluster
    }

    /// The address of all nodes.
    pub fn url(&self) -> String {
        let hosts = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        format!("amqp://{USER}:{PASSWORD}@{}/%2f", hosts.collect::<Vec<_>>().join(","))
    }

    /// How many nodes it has.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether it has no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Kills a node, so that it can do nothing about it.
    pub fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.nodes[number].child.take() {
            signal(child.id(), Signal::SIGKILL);
            child.wait().unwrap();
        }
    }

    /// Starts a node that was killed, and waits for it.
    pub async fn revive(&mut self, number: usize) {
        self.start_node(number);
        self.is_up(number).await;
    }

    /// The node that leads a quorum queue, once the nodes agree on one and the queue has all its members.
    pub async fn leader(&self, queue: &str) -> usize {
        until("the queue has a leader and all members", LONG, async || {
            let columns = ["list_queues", "--formatter=json", "name", "leader", "online"];
            let listed = self.control(self.alive()?, &columns)?;
            let rows: Value = serde_json::from_str(&listed).ok()?;
            let row = rows.as_array()?.iter().find(|row| row["name"] == queue)?;
            if row["online"].as_array()?.len() != self.nodes.len() {
                return None;
            }
            self.nodes.iter().position(|node| row["leader"] == node.name.as_str())
        })
        .await
    }

    /// Runs `rabbitmqctl` against a node; `None` when it fails.
    pub fn control(&self, number: usize, arguments: &[&str]) -> Option<String> {
        let mut command = self.command("rabbitmqctl", number);
        let output = command.args(["--silent", "-n", &self.nodes[number].name]).args(arguments);
        let output = output.stdin(Stdio::null()).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    }

    fn alive(&self) -> Option<usize> {
        self.nodes.iter().position(|node| node.child.is_some())
    }

    fn path(&self, number: usize, name: &str) -> PathBuf {
        self.folder.path().join(format!("node{number}")).join(name)
    }

    fn configure(&self, number: usize, settings: &str, advanced: &str) {
        fs::create_dir_all(self.path(number, "mnesia")).unwrap();
        let cookie = self.path(number, ".erlang.cookie");
        fs::write(&cookie, "COOKIEOFTHISTEST").unwrap();
        // Erlang insists on this mode.
        fs::set_permissions(&cookie, fs::Permissions::from_mode(0o400)).unwrap();
        let mut text = format!(
            "listeners.tcp.1 = 127.0.0.1:{}\ndefault_user = {USER}\ndefault_pass = {PASSWORD}\n\
             log.console = false\nlog.file.level = info\ndisk_free_limit.absolute = 10MB\n\
             raft.wal_max_size_bytes = 16777216\n\
             cluster_formation.peer_discovery_backend = classic_config\n",
            self.nodes[number].port
        );
        for (number, node) in self.nodes.iter().enumerate() {
            let line =
                format!("cluster_formation.classic_config.nodes.{} = {}\n", number + 1, node.name);
            text.push_str(&line);
        }
        text.push_str(settings);
        fs::write(self.path(number, "rabbitmq.conf"), text).unwrap();
        fs::write(self.path(number, "advanced.config"), advanced).unwrap();
        fs::write(self.path(number, "enabled_plugins"), "[].\n").unwrap();
    }

    fn command(&self, program: &str, number: usize) -> Command {
        let node = &self.nodes[number];
        let mut command = Command::new(format!("{PROGRAMS}/{program}"));
        command
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("HOME", self.path(number, ""))
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_NODENAME", &node.name)
            .env("ERL_EPMD_PORT", self.epmd_port.to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1");
        command
    }

    fn start_node(&mut self, number: usize) {
        let mut command = self.command("rabbitmq-server", number);
        let node = &self.nodes[number];
        command
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", node.port.to_string())
            .env("RABBITMQ_DIST_PORT", node.distribution_port.to_string())
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
            )
            .env("RABBITMQ_CONFIG_FILE", self.path(number, "rabbitmq.conf"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", self.path(number, "advanced.config"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", self.path(number, "enabled_plugins"))
            .env("RABBITMQ_MNESIA_BASE", self.path(number, "mnesia"))
            .env("RABBITMQ_LOG_BASE", self.path(number, "log"))
            .env("RABBITMQ_PID_FILE", self.path(number, "pid"))
            // The script then replaces itself by the broker, so that a kill reaches it.
            .env("RUNNING_UNDER_SYSTEMD", "true");
        let output = File::create(self.path(number, "output")).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        self.nodes[number].child = Some(command.spawn().unwrap());
    }

    /// Waits until a node answers the opening of AMQP.
    async fn is_up(&mut self, number: usize) {
        until(&format!("node {number} accepts clients"), LONG, async || {
            let ended = self.nodes[number].child.as_mut()?.try_wait().unwrap();
            let output = || fs::read_to_string(self.path(number, "output")).unwrap_or_default();
            assert!(ended.is_none(), "node {number} ended: {}", output());
            let port = self.nodes[number].port;
            let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
            stream.write_all(b"AMQP\x00\x00\x09\x01").await.ok()?;
            let answer = timeout(Duration::from_secs(5), stream.read_u8()).await;
            (answer.ok()?.ok()? == 1).then_some(())
        })
        .await;
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for number in 0..self.nodes.len() {
            self.kill(number);
        }
        signal(self.epmd.id(), Signal::SIGKILL);
        let _ = self.epmd.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
