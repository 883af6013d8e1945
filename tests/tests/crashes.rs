//! Parts are killed at random moments under load. Afterwards nothing is lost, nothing is there twice, and every derived
//! table is that of a run in which nothing happened.
#![cfg(test)]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use devnet::{Devnet, Options};
use rand::{Rng as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use store::{Projector, Store};
use tests::{
    capture,
    folder::Folder,
    graphql::Graph,
    nemesis::{GONE, Role, broker, database_server, kill},
    patience::{LONG, until},
    program::Program,
    tables::{self, Database},
    traffic::Traffic,
    world::{World, announced, settled, start_up},
};
use tokio_util::sync::CancellationToken;
use wire::Envelope;

/// Publications a second. Some are of two envelopes or three.
const RATE: u32 = 300;
/// So many envelopes are enough. Where all of this takes longer, fewer come from then on.
const ENOUGH: usize = 25_000;
/// Kills of one role, of the database, of the broker, of the process that keeps both; and of `up`, which is everything.
const KILLS: [(Target, u32); 7] = [
    (Target::Pull, 4),
    (Target::Index, 5),
    (Target::Project, 4),
    (Target::Database, 4),
    (Target::Broker, 2),
    (Target::Services, 1),
    (Target::Up, 3),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    Pull,
    Index,
    Project,
    Database,
    Broker,
    Services,
    Up,
}

/// What is killed how often is said; when, and in which order, is drawn.
#[expect(clippy::disallowed_methods, reason = "an earlier run is repeated by its seed")]
fn seed() -> u64 {
    let seed = match std::env::var("CRASH_SEED") {
        Ok(text) => text.parse().unwrap(),
        Err(_) => now_ns() % 1_000_000,
    };
    eprintln!("CRASH_SEED={seed}");
    seed
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_nanos().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_lost_and_nothing_is_there_twice() {
    let seed = seed();
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let node = Arc::new(Devnet::start(Options::default(), CancellationToken::new()).await.unwrap());
    let capture = capture::envelopes("legacy-a/envelopes.ndjson.gz");
    let mut traffic = Traffic::like(&capture, seed);

    // Everything in processes of its own.
    let mut town = Town::build(&node.grpc_url()).await;
    let graph = Arc::new(Mutex::new(town.graph.clone()));
    let mut first = traffic.on_every_topic(now_ns());
    // Welcomes come before anything is killed: gaps of V3 are not swept.
    first.extend(capture::envelopes("v3-a/welcomes.ndjson.gz").into_iter().take(40));
    node.publish(first.clone());
    settled(&town.graph, first.len() as u64, LONG, || town.services.must_run()).await;

    let stop = CancellationToken::new();
    let publishing = tokio::spawn(publish(node.clone(), traffic, first, stop.clone()));
    let reader = tokio::spawn(Reader::new(graph.clone()).read(stop.clone()));
    let mut killed = town.suffer(&mut dice).await;
    let restarts: u32 = town.roles.values().map(|role| role.restarts).sum();
    let folder = town.close();

    // Everything in one process, on the same data.
    *killed.entry(Target::Up).or_default() += kill_up(&folder, &mut dice, &graph).await;
    let mut world = World::on(folder, &[], &[]).await;
    *graph.lock().unwrap() = world.graph().clone();
    world.takes_in().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.cancel();
    let sent = publishing.await.unwrap();
    let distinct = distinct(&sent);
    eprintln!(
        "{} published, {} different, killed {killed:?}, restarts {restarts}",
        sent.len(),
        distinct.len()
    );
    let graph = world.graph().clone();
    let check = || world.program().must_run();
    let progress = settled(&graph, distinct.len() as u64, 2 * LONG, check).await;
    assert_eq!(progress.parked, 0);

    // The faults were hit: every part was killed, came back, and was given again what it had seen.
    assert!(killed.values().sum::<u32>() >= 20, "{killed:?}");
    assert_eq!(killed, KILLS.into_iter().collect());
    assert!(restarts >= 13, "{restarts}");
    let duplicates = world.metric("xmtp_indexer_envelopes_duplicate_total").await;
    assert!(duplicates > 0.0, "nothing came twice");

    let database = Database::connect(world.database_url()).await;
    the_log_is_what_was_said(&database, &distinct).await;
    the_reader_saw_each_once(&reader.await.unwrap(), &distinct);
    let undisturbed = undisturbed(&database, world.database_url(), &sent).await;
    let disturbed = database.dump().await;
    tables::same("the derived tables differ from an undisturbed run", &undisturbed, &disturbed);
    assert_eq!(database.contradictions().await, [""; 0]);
    for (table, rows) in &disturbed {
        assert!(!rows.is_empty(), "{table} is empty: nothing was shown about it");
    }

    world.command(&["rebuild", "--all"]);
    world.settled(distinct.len() as u64).await;
    tables::same("a rebuild gives other rows", &undisturbed, &database.dump().await);
    assert_eq!(database.contradictions().await, [""; 0]);
    world.stop();
}

/// Every role in a process of its own, on services that another process keeps.
struct Town {
    roles: BTreeMap<Target, Role>,
    second_worker: Role,
    serve: Program,
    services: Program,
    graph: Graph,
    folder: Folder,
}

impl Town {
    async fn build(node: &str) -> Town {
        let folder = Folder::new();
        // Clocks are exact here, so a sweep need not go far back: not everything is to come again each time.
        let source = format!(
            "[[sources]]\nkind = \"message-api\"\nurl = \"{node}\"\noptions = {{ sweep_overlap_seconds = 5 }}\n"
        );
        folder.write("xmtp-indexer.toml", &source);
        let mut services = services(&folder);
        announced(&folder, &mut services).await;
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
        let serve = ["serve", "--listen", "127.0.0.1:0", "--data-dir", data];
        let mut serve = Program::start(folder.path(), &serve, &[]);
        let url = until("`serve` tells where it is", LONG, async || {
            serve.must_run();
            let printed = serve.printed();
            Some(printed.split_whitespace().find(|word| word.contains("/graphql"))?.to_owned())
        })
        .await;
        let graph = Graph::at(url.trim_end_matches("/graphql"));
        until("the node's stream is open", LONG, async || {
            let answer = graph.try_ask("{ status { sources { connected } } }", Value::Null).await;
            let sources = answer.ok()?["data"]["status"]["sources"].as_array()?.clone();
            sources.iter().any(|source| source["connected"] == json!(true)).then_some(())
        })
        .await;
        Town { roles, second_worker, serve, services, graph, folder }
    }

    /// Kills what is to be killed, in a drawn order at drawn moments.
    async fn suffer(&mut self, dice: &mut ChaCha8Rng) -> BTreeMap<Target, u32> {
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
                let program = self.roles.get_mut(&role).unwrap().program();
                let running = program.ended().is_none();
                program.kill();
                running
            }
        }
    }

    /// Everything stops in good order.
    fn close(mut self) -> Folder {
        for mut role in self.roles.into_values().chain([self.second_worker]) {
            role.program().stop();
        }
        assert!(self.serve.stop().success(), "{}", self.serve.tail());
        assert!(self.services.stop().success(), "{}", self.services.tail());
        self.folder
    }
}

async fn kill_and_see(find: fn(&std::path::Path) -> Option<u32>, data: &std::path::Path) -> bool {
    let Some(pid) = find(data) else { return false };
    kill(Some(pid));
    until("what was killed is gone", GONE, async || (find(data) != Some(pid)).then_some(())).await;
    true
}

fn services(folder: &Folder) -> Program {
    let data = folder.data();
    Program::start(folder.path(), &["services", "--data-dir", data.to_str().unwrap()], &[])
}

/// Kills the one process that is everything, with its database and its broker, some time after it has begun to take in.
async fn kill_up(folder: &Folder, dice: &mut ChaCha8Rng, graph: &Mutex<Graph>) -> u32 {
    let times = KILLS.iter().find(|(target, _)| *target == Target::Up).unwrap().1;
    for _ in 0..times {
        let mut up = start_up(folder, &[], &[]);
        let running = announced(folder, &mut up).await;
        let here = Graph::at(running.http_url.as_deref().unwrap());
        *graph.lock().unwrap() = here.clone();
        // Sooner or later than the first envelope that it takes in: both are moments to die.
        if dice.random_bool(0.7) {
            until("it takes in", LONG, async || {
                up.must_run();
                let text = here.get("/metrics").await.ok()?;
                (tests::world::metric(&text, "xmtp_indexer_envelopes_ingested_total") > 0.0)
                    .then_some(())
            })
            .await;
        }
        tokio::time::sleep(Duration::from_millis(dice.random_range(0..2_000))).await;
        up.kill();
        eprintln!("killed Up");
    }
    times
}

/// Publishes until told to stop. Gives everything that was published, in its order.
async fn publish(
    node: Arc<Devnet>,
    mut traffic: Traffic,
    mut sent: Vec<Envelope>,
    stop: CancellationToken,
) -> Vec<Envelope> {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while !stop.is_cancelled() {
        tick.tick().await;
        let now = if sent.len() < ENOUGH { RATE / 50 } else { 1 };
        for _ in 0..now {
            let envelopes = traffic.next(now_ns());
            sent.extend(envelopes.iter().cloned());
            node.publish(envelopes);
        }
    }
    sent
}

type Identity = (u64, [u8; 32]);

fn identity(envelope: &Envelope) -> Identity {
    (envelope.timestamp_ns, *envelope.digest().as_bytes())
}

fn distinct(sent: &[Envelope]) -> BTreeSet<Identity> {
    sent.iter().map(identity).collect()
}

/// Pages forward through everything while all this goes on, through whoever serves.
struct Reader {
    graph: Arc<Mutex<Graph>>,
    seen: Vec<Identity>,
}

impl Reader {
    fn new(graph: Arc<Mutex<Graph>>) -> Reader {
        Reader { graph, seen: Vec::new() }
    }

    /// Until told to stop, and then to the end.
    async fn read(mut self, stop: CancellationToken) -> Vec<Identity> {
        let query = "query($after: String) { envelopes(first: 500, after: $after) {
            nodes { timestampNs digest } pageInfo { endCursor } } }";
        let mut cursor = Value::Null;
        let mut quiet_since = Instant::now();
        // It ends when nothing new has come for a while after the end.
        while !stop.is_cancelled() || quiet_since.elapsed() < Duration::from_secs(8) {
            if !stop.is_cancelled() {
                quiet_since = Instant::now();
            }
            let graph = self.graph.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let answer = graph.try_ask(query, json!({ "after": cursor })).await;
            let page = answer.map(|mut answer| answer["data"]["envelopes"].take());
            let nodes = match &page {
                Ok(page) => page["nodes"].as_array().unwrap().clone(),
                // The server or its database is away just now.
                Err(_) => Vec::new(),
            };
            if nodes.is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            quiet_since = Instant::now();
            for node in &nodes {
                let digest: wire::Digest = node["digest"].as_str().unwrap().parse().unwrap();
                let ns = node["timestampNs"].as_str().unwrap().parse().unwrap();
                self.seen.push((ns, *digest.as_bytes()));
            }
            cursor = page.unwrap()["pageInfo"]["endCursor"].take();
        }
        self.seen
    }
}

fn the_reader_saw_each_once(seen: &[Identity], distinct: &BTreeSet<Identity>) {
    let different: BTreeSet<Identity> = seen.iter().copied().collect();
    assert_eq!(different.len(), seen.len(), "a reader who paged forward saw something twice");
    let missed = distinct.difference(&different).count();
    assert_eq!(missed, 0, "a reader who paged forward missed something");
    assert_eq!(different.len(), distinct.len());
}

async fn the_log_is_what_was_said(database: &Database, distinct: &BTreeSet<Identity>) {
    let log = database.log().await;
    let logged: BTreeSet<Identity> = log.iter().copied().collect();
    let (lost, invented) =
        (distinct.difference(&logged).count(), logged.difference(distinct).count());
    assert_eq!((lost, invented), (0, 0), "lost, invented");
    assert_eq!(log.len(), logged.len(), "something is there twice");
}

/// The tables of a run in which nothing happens: the same envelopes, in the order of their publication.
async fn undisturbed(database: &Database, url: &str, sent: &[Envelope]) -> tables::Dump {
    let other = database.make_another(url, "undisturbed").await;
    let store = Store::connect(store::Options::new(&other)).await.unwrap();
    store.migrate().await.unwrap();
    for envelopes in sent.chunks(2_000) {
        let records = envelopes.iter().cloned().map(Into::into).collect();
        let page = store::Page { source: "undisturbed".into(), progress: Vec::new(), records };
        store.append(&[page]).await.unwrap();
    }
    let config = store::projector::Config::default();
    let mut projector = Projector::new(store.clone(), Arc::default(), config);
    let head = store.head().await.unwrap();
    while projector.catch_up().await.unwrap() < head {}
    let database = Database::connect(&other).await;
    assert_eq!(database.contradictions().await, [""; 0]);
    database.dump().await
}
