//! Two hundred readers follow while envelopes stream in and the server is killed again and again: each of them ends with
//! exactly what the log holds, in its order, nothing missing and nothing twice.
#![cfg(test)]

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant, SystemTime},
};

use devnet::{Devnet, Options};
use rand::Rng as _;
use serde_json::{Value, json};
use tests::{
    capture,
    folder::Folder,
    graphql::Graph,
    live::{Follower, Mark, Progress, Way, mark},
    nemesis::Role,
    patience::{LONG, until},
    program::{Program, free_address, succeed},
    traffic::Traffic,
    world::{announced, settled},
};
use tokio_util::sync::CancellationToken;

/// Envelopes a second.
const RATE: usize = 500;
/// So many are enough. Where all of this takes longer, fewer come from then on.
const ENOUGH: usize = 30_000;
/// How far the last of those who follow everything may be behind. Where the machine is too slow for more, fewer come.
const BEHIND: usize = 30 * RATE;
/// How often the server is killed.
const KILLS: usize = 10;
/// What is followed, with which filter, by how many; half of them by sockets, half by event streams.
const READERS: [(&str, &str, usize); 4] = [
    ("envelopes", "", 50),
    ("envelopes", "filter: { kinds: [INVITE, CONTACT_BUNDLE, UNDECODABLE] }", 50),
    ("invites", "", 50),
    ("contactBundles", "", 50),
];

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_nanos().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_ends_with_the_same_however_often_the_server_is_killed() {
    let node = Arc::new(Devnet::start(Options::default(), CancellationToken::new()).await.unwrap());
    let mut traffic = Traffic::like(&capture::envelopes("legacy-a/envelopes.ndjson.gz"), now_ns());
    let mut town = Town::build(&format!("message-api={}", node.grpc_url())).await;
    let first = traffic.on_every_topic(now_ns());
    let before = distinct(&first);
    node.publish(first);
    settled(&town.graph, before as u64, LONG, || town.services.must_run()).await;
    let begin = town.graph.ask("{ status { head } }", Value::Null).await["status"]["head"].take();
    let begin = begin.as_str().unwrap();

    // Everybody begins behind the same cursor.
    let (stop, mut readers) = (CancellationToken::new(), Vec::new());
    for (kind, (field, filter, count)) in READERS.into_iter().enumerate() {
        for nth in 0..count {
            let way = if nth % 2 == 0 { Way::Socket } else { Way::Events };
            let follower = Follower::new(town.address, way, field, filter, begin);
            let progress = follower.progress();
            readers.push((kind, way, progress, tokio::spawn(follower.follow(stop.clone()))));
        }
    }
    let all: Vec<Arc<Progress>> = readers.iter().map(|reader| reader.2.clone()).collect();
    town.until_connected(&all, 1).await;

    let enough = CancellationToken::new();
    let began = Instant::now();
    let everything: Vec<_> = readers.iter().filter(|r| r.0 == 0).map(|r| r.2.clone()).collect();
    let publishing = tokio::spawn(publish(node.clone(), traffic, everything, enough.clone()));
    for kill in 1..=KILLS {
        // They are told something by each server: some are still being told what they missed when it dies.
        let told: usize = all.iter().map(|reader| reader.told.load(Ordering::Relaxed)).sum();
        until("readers are told something", LONG, async || {
            town.tend();
            let now: usize = all.iter().map(|reader| reader.told.load(Ordering::Relaxed)).sum();
            (now > told + all.len()).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(rand::rng().random_range(0..2_500))).await;
        assert!(town.serve.kill(), "it was dead already");
        eprintln!("{:5.1} s: killed `serve` ({kill})", began.elapsed().as_secs_f32());
        town.until_connected(&all, kill + 1).await;
    }
    let took = began.elapsed();
    enough.cancel();
    let published = publishing.await.unwrap();
    let rate = published.sent as f64 / took.as_secs_f64();
    eprintln!("{} envelopes in {:.1} s: {rate:.0}/s", published.sent, took.as_secs_f64());
    if rate < 0.9 * RATE as f64 {
        let slow = published.slow.as_secs_f32();
        eprintln!("for {slow:.1} s fewer than {RATE}/s came: this machine is too slow for more");
    }
    let total = (before + published.distinct) as u64;
    settled(&town.graph, total, LONG, || town.services.must_run()).await;

    // Who follows everything is done when all that was published was told; then there is time for others, too.
    let began = Instant::now();
    for reader in readers.iter().filter(|reader| reader.0 == 0) {
        town.until_told(&reader.2, published.distinct, &format!("{:?}", reader.1)).await;
    }
    // What should have been told is what the log says, read by pages.
    let log = town.log().await;
    assert_eq!(log.len() as u64, total);
    let wanted: Vec<Vec<Mark>> =
        READERS.iter().map(|(field, filter, _)| wanted(&log, begin, field, filter)).collect();
    assert_eq!(wanted[0].len(), published.distinct);
    for (kind, way, progress, _) in &readers {
        let who = format!("{way:?} {:?}", READERS[*kind]);
        town.until_told(progress, wanted[*kind].len(), &who).await;
    }
    eprintln!("everybody has everything {:.1} s later", began.elapsed().as_secs_f32());
    // Whatever came twice would come now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.cancel();
    let mut reconnects = BTreeMap::<usize, u32>::new();
    for (kind, way, progress, told) in readers {
        let (told, wanted) = (told.await.unwrap(), &wanted[kind]);
        let at = wanted.iter().zip(&told).position(|(wanted, told)| wanted != told);
        let who = (way, READERS[kind], told.len(), wanted.len());
        assert!(&told == wanted, "{who:?}: the first difference is at {at:?}");
        assert!(told.len() > KILLS, "{who:?}: too little to show anything");
        // The fault was hit, by everybody.
        let again = progress.connections.load(Ordering::Relaxed) - 1;
        assert!(again >= KILLS, "{who:?} came again {again} times");
        *reconnects.entry(again).or_default() += 1;
    }
    let lengths: Vec<usize> = wanted.iter().map(Vec::len).collect();
    eprintln!("told {lengths:?}; reconnects and how many made them: {reconnects:?}");
    assert_eq!(town.serve.restarts as usize, KILLS);
    town.close();
}

/// Every role in a process of its own, on services that another process keeps.
struct Town {
    others: Vec<Role>,
    serve: Role,
    services: Program,
    graph: Graph,
    address: SocketAddr,
    // The last: all others are stopped before it goes.
    folder: Folder,
}

impl Town {
    async fn build(source: &str) -> Town {
        let folder = Folder::new();
        let data = folder.data();
        let data = data.to_str().unwrap();
        let mut services = Program::start(folder.path(), &["services", "--data-dir", data], &[]);
        announced(&folder, &mut services).await;
        succeed(folder.path(), &["migrate", "--data-dir", data], &[]);
        let address = free_address();
        let roles: [&[&str]; 3] = [&["pull", "--source", source], &["index"], &["project"]];
        let others = roles.iter().map(|role| Role::start(&folder, role, &[])).collect();
        let serve = Role::start(&folder, &["serve", "--listen", &address.to_string()], &[]);
        let graph = Graph::at(&format!("http://{address}"));
        until("the node's stream is open", LONG, async || {
            let answer = graph.try_ask("{ status { sources { connected } } }", Value::Null).await;
            let sources = answer.ok()?["data"]["status"]["sources"].as_array()?.clone();
            sources.iter().any(|source| source["connected"] == json!(true)).then_some(())
        })
        .await;
        Town { others, serve, services, graph, address, folder }
    }

    /// What a supervisor does. Only the server is killed here: nobody else ends.
    fn tend(&mut self) {
        self.others.iter_mut().for_each(|role| role.program().must_run());
        self.services.must_run();
        self.serve.tend(&self.folder);
    }

    /// Waits until everybody was connected so often.
    async fn until_connected(&mut self, readers: &[Arc<Progress>], times: usize) {
        until("everybody is connected again", LONG, async || {
            self.tend();
            let there =
                |reader: &&Arc<Progress>| reader.connections.load(Ordering::Relaxed) >= times;
            (readers.iter().filter(there).count() == readers.len()).then_some(())
        })
        .await;
    }

    /// Waits until a reader was told so much. However long that takes: only a reader who stands still is wrong.
    async fn until_told(&mut self, reader: &Progress, wanted: usize, who: &str) {
        let told = || reader.told.load(Ordering::Relaxed);
        let (mut seen, mut since) = (0, Instant::now());
        while told() < wanted {
            self.tend();
            if told() > seen {
                (seen, since) = (told(), Instant::now());
            }
            let error = reader.last_error();
            assert!(since.elapsed() < LONG, "{who} stands still at {seen} of {wanted}; {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The whole log by pages: cursor, id and kind of each envelope, and the id of what it holds.
    async fn log(&self) -> Vec<Value> {
        let query = "query($after: String) { envelopes(first: 500, after: $after) {
            edges { cursor node { id kind payload { ... on Invite { id } ... on ContactBundle { id } } } }
            pageInfo { hasNextPage endCursor } } }";
        let (mut log, mut after) = (Vec::new(), Value::Null);
        loop {
            let mut answer = self.graph.ask(query, json!({ "after": after })).await;
            let mut page = answer["envelopes"].take();
            log.append(page["edges"].as_array_mut().unwrap());
            if page["pageInfo"]["hasNextPage"] == json!(false) {
                return log;
            }
            after = page["pageInfo"]["endCursor"].take();
        }
    }

    fn close(mut self) {
        for role in self.others.iter_mut().chain([&mut self.serve]) {
            role.program().stop();
        }
        assert!(self.services.stop().success(), "{}", self.services.tail());
    }
}

/// What a subscription from `begin` on tells, worked out from the log.
fn wanted(log: &[Value], begin: &str, field: &str, filter: &str) -> Vec<Mark> {
    let behind = log.iter().position(|edge| edge["cursor"] == begin).unwrap() + 1;
    let mut seen = HashSet::new();
    let mut wanted = Vec::new();
    for (at, edge) in log.iter().enumerate() {
        let (cursor, node) = (edge["cursor"].as_str().unwrap(), &edge["node"]);
        let kind = node["kind"].as_str().unwrap();
        let id = match field {
            "envelopes" if filter.is_empty() || filter.contains(kind) => &node["id"],
            // Told once, where the first copy stands.
            "invites" if kind == "INVITE" => &node["payload"]["id"],
            "contactBundles" if kind == "CONTACT_BUNDLE" => &node["payload"]["id"],
            _ => continue,
        };
        let Some(id) = id.as_str() else { continue };
        if seen.insert(id) && at >= behind {
            wanted.push(mark(cursor, id));
        }
    }
    wanted
}

fn distinct(envelopes: &[wire::Envelope]) -> usize {
    envelopes.iter().map(|e| (e.timestamp_ns, *e.digest().as_bytes())).collect::<HashSet<_>>().len()
}

struct Published {
    sent: usize,
    distinct: usize,
    /// How long fewer came than should.
    slow: Duration,
}

/// Publishes until told to stop.
async fn publish(
    node: Arc<Devnet>,
    mut traffic: Traffic,
    readers: Vec<Arc<Progress>>,
    stop: CancellationToken,
) -> Published {
    let (mut sent, mut slow, pause) = (Vec::new(), Duration::ZERO, Duration::from_millis(20));
    let mut tick = tokio::time::interval(pause);
    let mut due = 0;
    while !stop.is_cancelled() {
        tick.tick().await;
        let told = readers.iter().map(|reader| reader.told.load(Ordering::Relaxed)).min().unwrap();
        if sent.len() < ENOUGH && sent.len() < told + BEHIND {
            due += RATE * 20 / 1_000;
        } else {
            due += 1;
            slow += pause;
        }
        while sent.len() < due {
            let envelopes = traffic.next(now_ns());
            sent.extend(envelopes.iter().cloned());
            node.publish(envelopes);
        }
    }
    Published { sent: sent.len(), distinct: distinct(&sent), slow }
}
