//! The program at work: `up` on a folder of its own, its GraphQL, and what it says about itself.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    folder::Folder,
    graphql::Graph,
    patience::{LONG, until},
    program::{Program, succeed},
};

/// One `up`, with services of its own.
pub struct World {
    // Before the folder: it is stopped first.
    up: Program,
    folder: Folder,
    running: Running,
    graph: Graph,
}

/// What the program writes into its data folder for others to find it.
#[derive(Clone, Debug, Deserialize)]
pub struct Running {
    /// Its process id.
    pub pid: u32,
    /// Where its database is.
    pub database_url: Option<String>,
    /// Where its broker is.
    pub amqp_url: Option<String>,
    /// Where it serves.
    pub http_url: Option<String>,
}

/// How far everything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Envelopes that a reader may see.
    pub visible: u64,
    /// Pages of envelopes in the queue, with those that a worker holds; `None` when the broker does not answer.
    pub queued_pages: Option<u64>,
    /// Envelopes that were put aside.
    pub parked: u64,
    /// How far the slowest derived table is behind.
    pub lag: u64,
    /// Is a table being built again?
    pub rebuilding: bool,
}

impl World {
    /// Starts `up` and waits until it serves. The broker may still be booting.
    pub async fn up(arguments: &[&str]) -> World {
        let folder = Folder::new();
        World::on(folder, arguments, &[]).await
    }

    /// The same on a folder that may have been used before.
    pub async fn on(folder: Folder, arguments: &[&str], variables: &[(&str, &str)]) -> World {
        let mut up = start_up(&folder, arguments, variables);
        let running = announced(&folder, &mut up).await;
        let graph = Graph::at(running.http_url.as_deref().unwrap());
        World { up, folder, running, graph }
    }

    /// Where it serves.
    pub fn url(&self) -> &str {
        self.running.http_url.as_deref().unwrap()
    }

    /// Its GraphQL.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Answers must not have any of these texts in them from now on.
    pub fn never_says(&mut self, texts: Vec<String>) {
        self.graph = self.graph.clone().never_saying(texts);
    }

    /// Where its database is.
    pub fn database_url(&self) -> &str {
        self.running.database_url.as_deref().unwrap()
    }

    /// Where its broker is. During its first start that is not announced yet.
    pub async fn amqp_url(&mut self) -> String {
        if self.running.amqp_url.is_none() {
            let (up, folder) = (&mut self.up, &self.folder);
            self.running = until("the broker is announced", LONG, async || {
                Some(announced(folder, up).await).filter(|running| running.amqp_url.is_some())
            })
            .await;
        }
        self.running.amqp_url.clone().unwrap()
    }

    /// Its folder.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Its data folder, as an argument.
    pub fn data(&self) -> String {
        self.folder.data().to_str().unwrap().to_owned()
    }

    /// The process.
    pub fn program(&mut self) -> &mut Program {
        &mut self.up
    }

    /// Runs another command of the program on the same data.
    pub fn command(&self, arguments: &[&str]) -> String {
        let data = self.data();
        let mut all = arguments.to_vec();
        all.extend(["--data-dir", &data]);
        succeed(self.folder.path(), &all, &[])
    }

    /// Waits until the broker is up and declared, which is when the program takes in.
    pub async fn takes_in(&mut self) {
        let (up, graph) = (&mut self.up, &self.graph);
        until("the broker answers", LONG, async || {
            up.must_run();
            let answer = graph.ask("{ status { queue { answering } } }", Value::Null).await;
            answer["status"]["queue"]["answering"].as_bool().filter(|up| *up)
        })
        .await;
    }

    /// Waits until so many envelopes are visible, none are on their way and every table has them.
    pub async fn settled(&mut self, envelopes: u64) -> Progress {
        let (up, graph) = (&mut self.up, &self.graph);
        settled(graph, envelopes, LONG, || up.must_run()).await
    }

    /// A number that `/metrics` tells, summed over its labels; 0 when it is not there.
    pub async fn metric(&self, name: &str) -> f64 {
        metric(&self.graph.get("/metrics").await.unwrap(), name)
    }

    /// Stops the program in good order, and gives the folder back.
    pub fn stop(mut self) -> Folder {
        let status = self.up.stop();
        assert!(status.success(), "`up` ended with {status}:\n{}", self.up.tail());
        self.folder
    }
}

/// Starts `up` on a folder, listening on a free port.
pub fn start_up(folder: &Folder, arguments: &[&str], variables: &[(&str, &str)]) -> Program {
    let data: PathBuf = folder.data();
    let mut all = vec!["up", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    all.extend(arguments);
    Program::start(folder.path(), &all, variables)
}

/// Starts `serve` on the data of a folder, with more arguments, and waits until it listens. Returns its address, too.
pub async fn start_serve(folder: &Folder, more: &[&str]) -> (Program, Graph, SocketAddr) {
    let data = folder.data();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data.to_str().unwrap()];
    let arguments = [&arguments[..], more].concat();
    let mut serve = Program::start(folder.path(), &arguments, &[]);
    let url = until("`serve` prints its address", LONG, async || {
        serve.must_run();
        let printed = serve.printed();
        Some(printed.split_whitespace().find(|word| word.contains("/graphql"))?.to_owned())
    })
    .await;
    let url = url.trim_end_matches("/graphql");
    let address = url.trim_start_matches("http://").parse().unwrap();
    (serve, Graph::at(url), address)
}

/// Waits for a program to announce where everything is.
pub async fn announced(folder: &Folder, program: &mut Program) -> Running {
    let data = folder.data();
    until("the program announces itself", LONG, async || {
        program.must_run();
        let text = std::fs::read_to_string(data.join("running.json")).ok()?;
        let running: Running = serde_json::from_str(&text).ok()?;
        Some(running).filter(|running| running.pid == program.pid())
    })
    .await
}

/// How far everything is, asked through GraphQL; `None` when it does not answer.
pub async fn progress(graph: &Graph) -> Option<Progress> {
    let query = "{ status { envelopeCount projections { lag rebuilding } queue { answering depth unacknowledged parked } } }";
    let answer = graph.try_ask(query, Value::Null).await.ok()?;
    let status = &answer["data"]["status"];
    let number = |value: &Value| value.as_str().unwrap().parse::<u64>().unwrap();
    let queue = &status["queue"];
    Some(Progress {
        visible: number(&status["envelopeCount"]),
        queued_pages: (queue["answering"] == true)
            .then(|| number(&queue["depth"]) + number(&queue["unacknowledged"])),
        parked: number(&queue["parked"]),
        lag: status["projections"].as_array()?.iter().map(|p| number(&p["lag"])).max()?,
        rebuilding: status["projections"].as_array()?.iter().any(|p| p["rebuilding"] == true),
    })
}

/// Waits until so many envelopes are visible, none are on their way and every table has them.
pub async fn settled(
    graph: &Graph,
    envelopes: u64,
    limit: Duration,
    mut check: impl FnMut(),
) -> Progress {
    let mut last = None;
    let what = format!("{envelopes} envelopes are indexed");
    let seen = until(&what, limit, async || {
        check();
        last = progress(graph).await.or(last);
        let done = |p: &Progress| {
            p.visible >= envelopes && p.queued_pages == Some(0) && p.lag == 0 && !p.rebuilding
        };
        last.filter(done)
    })
    .await;
    assert_eq!(seen.visible, envelopes, "more are visible than there are: {seen:?}");
    seen
}

/// A number of a Prometheus text, summed over its labels.
pub fn metric(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            let value = match rest.strip_prefix('{') {
                Some(labels) => labels.split_once('}')?.1,
                None => rest.strip_prefix(' ')?,
            };
            value.trim().parse::<f64>().ok()
        })
        .sum()
}
