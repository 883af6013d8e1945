//! The whole pipeline, each part in a process of its own that can be killed, hung and restarted.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    folder::Folder,
    graphql::Graph,
    nemesis::{Role, broker, database_server, hang},
    patience::{LONG, until},
    program::{Program, free_address, signal, succeed},
    world::announced,
};

/// A part of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The role `pull`.
    Pull,
    /// The role `index`.
    Index,
    /// The role `project`.
    Project,
    /// The role `serve`.
    Serve,
    /// The PostgreSQL server.
    Postgres,
    /// The RabbitMQ broker.
    RabbitMq,
}

impl Part {
    /// Every part.
    pub const ALL: [Part; 6] =
        [Part::Pull, Part::Index, Part::Project, Part::Serve, Part::Postgres, Part::RabbitMq];
    /// Those that are processes of the program.
    pub const ROLES: [Part; 4] = [Part::Pull, Part::Index, Part::Project, Part::Serve];

    fn command(self) -> &'static str {
        match self {
            Part::Pull => "pull",
            Part::Index => "index",
            Part::Project => "project",
            Part::Serve => "serve",
            Part::Postgres | Part::RabbitMq => panic!("{self:?} is no role"),
        }
    }

    fn service(self, data: &Path) -> Option<u32> {
        match self {
            Part::Postgres => database_server(data),
            Part::RabbitMq => broker(data),
            role => panic!("{role:?} is no service"),
        }
    }
}

/// What is done to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL; whoever supervises it starts it again.
    Kill,
    /// SIGSTOP, and SIGCONT after some seconds.
    Hang,
    /// It is told to stop; whoever supervises it starts it again.
    Restart,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 3] = [Fault::Kill, Fault::Hang, Fault::Restart];
}

/// The roles on services that a process of their own keeps.
pub struct Parts {
    // Before the folder: processes are stopped first.
    roles: BTreeMap<Part, Role>,
    /// Whether roles that ended stay so for now.
    down: bool,
    operators: BTreeMap<Part, Graph>,
    services: Program,
    /// Its GraphQL.
    pub graph: Graph,
    /// Where its database is.
    pub database_url: String,
    folder: Folder,
}

impl Parts {
    /// Starts everything. The settings are the text of `xmtp-indexer.toml`.
    pub async fn start(settings: &str) -> Parts {
        let folder = Folder::new();
        folder.write("xmtp-indexer.toml", settings);
        let data = folder.data();
        let data = data.to_str().unwrap();
        let mut services = Program::start(folder.path(), &["services", "--data-dir", data], &[]);
        let running = announced(&folder, &mut services).await;
        succeed(folder.path(), &["migrate", "--data-dir", data], &[]);
        let operators = Part::ROLES.map(|_| free_address().to_string());
        let api_at = free_address().to_string();
        let start = |(part, operators): (Part, &String)| {
            let mut arguments = vec![part.command(), "--metrics-listen", operators];
            if part == Part::Serve {
                arguments.extend(["--listen", &api_at]);
            }
            (part, Role::start(&folder, &arguments, &[]))
        };
        let roles = Part::ROLES.into_iter().zip(&operators).map(start).collect();
        let at = |address: &String| Graph::at(&format!("http://{address}"));
        let mut parts = Parts {
            roles,
            down: false,
            operators: Part::ROLES.into_iter().zip(operators.iter().map(at)).collect(),
            services,
            graph: at(&api_at),
            database_url: running.database_url.unwrap(),
            folder,
        };
        until("everything is ready", LONG, async || {
            parts.tend();
            parts.not_ready().await.is_empty().then_some(())
        })
        .await;
        parts
    }

    /// What a supervisor does: starts again what has ended.
    pub fn tend(&mut self) {
        self.services.must_run();
        if !self.down {
            self.roles.values_mut().for_each(|role| role.tend(&self.folder));
        }
    }

    /// Kills roles, and starts none again before they are brought back.
    pub fn take_down(&mut self, parts: &[Part]) {
        self.down = true;
        for part in parts {
            self.roles.get_mut(part).unwrap().kill();
        }
    }

    /// Roles are started again from now on.
    pub fn bring_back(&mut self) {
        self.down = false;
    }

    /// Whether the process of every role is there.
    pub fn all_run(&mut self) -> bool {
        self.roles.values_mut().all(|role| role.program().ended().is_none())
    }

    /// Does it.
    pub async fn suffer(&mut self, part: Part, fault: Fault) {
        if let Some(role) = self.roles.get_mut(&part) {
            match fault {
                Fault::Kill => {
                    role.kill();
                }
                Fault::Hang => hang(role.program().pid(), true),
                Fault::Restart => role.terminate(),
            }
            return;
        }
        let pid = self.service(part).await;
        match (fault, part) {
            (Fault::Kill, _) => signal(pid, Signal::SIGKILL),
            (Fault::Hang, _) => hang(pid, true),
            // What operators call a fast shutdown; the other waits until every client has left.
            (Fault::Restart, Part::Postgres) => signal(pid, Signal::SIGINT),
            (Fault::Restart, _) => signal(pid, Signal::SIGTERM),
        }
    }

    /// Lets a part that hangs go on.
    pub fn release(&mut self, part: Part) {
        let pid = match self.roles.get_mut(&part) {
            Some(role) => Some(role.program().pid()),
            None => part.service(&self.folder.data()),
        };
        if let Some(pid) = pid {
            hang(pid, false);
        }
    }

    /// Kills a service and waits until it is started again.
    pub async fn starts(&mut self, part: Part) {
        let before = self.service(part).await;
        signal(before, Signal::SIGKILL);
        until("the service is started again", LONG, async || {
            self.tend();
            part.service(&self.folder.data()).filter(|pid| *pid != before)
        })
        .await;
    }

    async fn service(&mut self, part: Part) -> u32 {
        until("the service runs", LONG, async || {
            self.tend();
            part.service(&self.folder.data())
        })
        .await
    }

    /// Roles that do not say that they are ready, with what they say, and for how long they have been running.
    pub async fn not_ready(&self) -> Vec<(Part, Duration, String)> {
        let mut found = Vec::new();
        for (part, graph) in &self.operators {
            let answer = tokio::time::timeout(Duration::from_secs(5), graph.get("/readyz")).await;
            let said = match answer {
                Ok(Ok(text)) if text.contains("\"ready\"") => continue,
                Ok(Ok(text)) => text,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            let runs = Instant::now().duration_since(self.roles[part].started());
            found.push((*part, runs, said));
        }
        found
    }

    /// How often roles were started again.
    pub fn restarts(&self) -> u32 {
        self.roles.values().map(|role| role.restarts).sum()
    }

    /// Everything stops in good order.
    pub fn stop(&mut self) {
        for role in self.roles.values_mut() {
            let status = role.program().stop();
            assert!(status.success(), "{status}: {}", role.program().tail());
        }
        assert!(self.services.stop().success(), "{}", self.services.tail());
    }
}
