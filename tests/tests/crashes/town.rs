//! Every role in a process of its own, and what happens to them.

use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use rand::{Rng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tests::{
    folder::Folder,
    graphql::Graph,
    nemesis::{GONE, Role, broker, database_server, kill},
    nodes::Death,
    patience::{LONG, until},
    program::Program,
    world::{announced, start_serve},
};

use super::knowable::safe_until;
use crate::{KILLS, Target, now_ns};

/// Every role in a process of its own, on services that another process keeps.
pub(crate) struct Town {
    pub(crate) roles: BTreeMap<Target, Role>,
    second_worker: Role,
    serve: Program,
    pub(crate) services: Program,
    pub(crate) graph: Graph,
    database_url: String,
    /// Until when everything is known to be in the log or the queue.
    safe_ns: u64,
    deaths: Vec<Death>,
    folder: Folder,
}

impl Town {
    pub(crate) async fn build(nodes: &[String; 2]) -> Town {
        let folder = Folder::new();
        // Clocks are exact here, so a sweep need not go far back: not everything is to come again each time. Whoever has
        // waited a minute for what became known is killed before.
        let options = "{ sweep_overlap_seconds = 5, read_back_seconds = 5, silence_seconds = 5 }";
        let source = |(name, url): (&str, &String)| {
            format!(
                "[[sources]]\nname = \"{name}\"\nkind = \"message-api\"\nurl = \"{url}\"\noptions = {options}\n"
            )
        };
        let sources: String = ["a", "b"].into_iter().zip(nodes).map(source).collect();
        folder.write("xmtp-indexer.toml", &sources);
        let mut services = services(&folder);
        let running = announced(&folder, &mut services).await;
        let data = folder.data();
        let data = data.to_str().unwrap();
        tests::program::succeed(folder.path(), &["migrate", "--data-dir", data], &[]);
        let role = |arguments: &[&str]| Role::start(&folder, arguments, &[]);
        let roles = BTreeMap::from([
            (Target::Pull, role(&["pull"])),
            (Target::Index, role(&["index"])),
            (Target::Project, role(&["project"])),
        ]);
        let second_worker = role(&["index"]);
        let (serve, graph, _) = start_serve(&folder, &[]).await;
        until("the nodes' streams are open", LONG, async || {
            let answer = graph.try_ask("{ status { sources { connected } } }", Value::Null).await;
            let sources = answer.ok()?["data"]["status"]["sources"].as_array()?.clone();
            let open = sources.iter().filter(|source| source["connected"] == json!(true)).count();
            (open == 2).then_some(())
        })
        .await;
        let database_url = running.database_url.unwrap();
        let (safe_ns, deaths) = (0, Vec::new());
        Town { roles, second_worker, serve, services, graph, database_url, safe_ns, deaths, folder }
    }

    /// Kills what is to be killed, in a drawn order at drawn moments.
    pub(crate) async fn suffer(&mut self, dice: &mut ChaCha8Rng) -> BTreeMap<Target, u32> {
        let mut order: Vec<Target> = Vec::new();
        for (target, times) in KILLS.into_iter().filter(|(target, _)| *target != Target::Up) {
            order.extend(std::iter::repeat_n(target, times as usize));
        }
        order.shuffle(dice);
        let (start, mut killed) = (Instant::now(), BTreeMap::new());
        for target in order {
            // Some kills hit what works, some hit what has not yet recovered from the one before.
            if dice.random_bool(0.5) {
                self.flows(100).await;
            }
            self.live_for(Duration::from_millis(dice.random_range(20..1_500))).await;
            let began = Instant::now();
            while !self.kill(target).await {
                assert!(began.elapsed() < LONG, "{target:?} does not come back");
                self.live_for(Duration::from_millis(100)).await;
            }
            eprintln!("{:6.1} s: killed {target:?}", start.elapsed().as_secs_f32());
            *killed.entry(target).or_default() += 1;
        }
        // Everything comes to itself again, or the next part would have nothing to be killed in.
        self.flows(500).await;
        killed
    }

    /// Waits until so many more envelopes have become visible.
    async fn flows(&mut self, more: u64) {
        let (began, mut before) = (Instant::now(), None);
        loop {
            let now = self.visible().await;
            before = before.or(now);
            if before.zip(now).is_some_and(|(before, now)| now >= before + more) {
                return;
            }
            assert!(began.elapsed() < LONG, "nothing comes in any more: {before:?}, {now:?}");
            self.live_for(Duration::from_millis(100)).await;
        }
    }

    async fn visible(&self) -> Option<u64> {
        tests::world::progress(&self.graph).await.map(|progress| progress.visible)
    }

    /// What a supervisor does meanwhile.
    async fn live_for(&mut self, time: Duration) {
        let began = Instant::now();
        loop {
            self.roles.values_mut().for_each(|role| role.tend(&self.folder));
            self.second_worker.tend(&self.folder);
            self.serve.must_run();
            if self.services.ended().is_some() {
                self.services = services(&self.folder);
            }
            if began.elapsed() >= time {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whether there was something to kill.
    async fn kill(&mut self, target: Target) -> bool {
        let data = self.folder.data();
        match target {
            Target::Database => kill_and_see(database_server, &data).await,
            Target::Broker => kill_and_see(broker, &data).await,
            // While it starts it has nobody to take down with it.
            Target::Services if database_server(&data).is_none() || broker(&data).is_none() => {
                false
            }
            Target::Services => {
                self.services.kill();
                true
            }
            role => {
                if role == Target::Pull {
                    self.note_what_is_safe().await;
                }
                let killed = self.roles.get_mut(&role).unwrap().kill();
                if killed && role == Target::Pull {
                    self.deaths.push((self.safe_ns, now_ns()));
                }
                killed
            }
        }
    }

    async fn note_what_is_safe(&mut self) {
        // Without the database, what it said last is as true as it was.
        if let Some(ns) = safe_until(&self.database_url).await {
            self.safe_ns = ns;
        }
    }

    /// Everything stops in good order. What was on its way from a node then is as lost as if the reader had died.
    pub(crate) async fn close(mut self) -> (Folder, Vec<Death>) {
        self.note_what_is_safe().await;
        for mut role in self.roles.into_values().chain([self.second_worker]) {
            role.program().stop();
        }
        assert!(self.serve.stop().success(), "{}", self.serve.tail());
        assert!(self.services.stop().success(), "{}", self.services.tail());
        self.deaths.push((self.safe_ns, now_ns()));
        (self.folder, self.deaths)
    }
}

async fn kill_and_see(find: fn(&Path) -> Option<u32>, data: &Path) -> bool {
    let Some(pid) = find(data) else { return false };
    kill(Some(pid));
    until("what was killed is gone", GONE, async || (find(data) != Some(pid)).then_some(())).await;
    true
}

fn services(folder: &Folder) -> Program {
    let data = folder.data();
    Program::start(folder.path(), &["services", "--data-dir", data.to_str().unwrap()], &[])
}
