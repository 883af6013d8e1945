//! Each part is killed, hung and restarted, alone and together with another, while everything starts, catches up or is up to
//! date: every process is ready again within 30 seconds, or ends and says why, and nothing is lost.
#![cfg(test)]

use std::{
    collections::BTreeSet,
    fmt,
    time::{Duration, Instant, SystemTime},
};

use devnet::{Devnet, Options};
use rand::{Rng as _, SeedableRng as _, seq::SliceRandom as _};
use rand_chacha::ChaCha8Rng;
use tests::{
    capture,
    parts::{Fault, Part, Parts},
    patience::{LONG, until},
    tables::{Database, Identity, identity},
    traffic::Traffic,
    world::{Progress, progress},
};
use tokio_util::sync::CancellationToken;

/// In this time a process is ready again, or has ended.
const RECOVERY: Duration = Duration::from_secs(30);
/// How long a part hangs.
const HANG: Duration = Duration::from_secs(3);
/// Envelopes that wait for those who catch up.
const BACKLOG: usize = 2_000;
/// Those who have to catch up when they were away.
const WRITERS: [Part; 3] = [Part::Pull, Part::Index, Part::Project];
/// Pairs of a run that does not try all of them.
const PAIRS: usize = 9;

/// What the pipeline is at when the fault comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Start,
    CatchUp,
    Steady,
}

const PHASES: [Phase; 3] = [Phase::Start, Phase::CatchUp, Phase::Steady];

/// Faults that come at once.
#[derive(Clone)]
struct Case {
    phase: Phase,
    hits: Vec<(Part, Fault)>,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hits: Vec<String> =
            self.hits.iter().map(|(part, fault)| format!("{fault:?} {part:?}")).collect();
        write!(f, "{:?}: {}", self.phase, hits.join(" + "))
    }
}

#[expect(clippy::disallowed_methods, reason = "an earlier run is repeated by its seed")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    now.as_nanos().try_into().unwrap()
}

/// Every fault of every part, each in a phase that is drawn, and some pairs. `FAULTS_ALL` makes it all phases and all pairs.
fn cases(dice: &mut ChaCha8Rng) -> Vec<Case> {
    let hits: Vec<(Part, Fault)> =
        Part::ALL.into_iter().flat_map(|part| Fault::ALL.map(|fault| (part, fault))).collect();
    let mut pairs = Vec::new();
    for (n, one) in hits.iter().enumerate() {
        let others = hits[n + 1..].iter().filter(|other| other.0 != one.0);
        pairs.extend(others.map(|other| vec![*one, *other]));
    }
    let singles: Vec<_> = hits.into_iter().map(|hit| vec![hit]).collect();
    let mut cases = Vec::new();
    if variable("FAULTS_ALL").is_some() {
        for hits in singles.into_iter().chain(pairs) {
            cases.extend(PHASES.map(|phase| Case { phase, hits: hits.clone() }));
        }
    } else {
        pairs.shuffle(dice);
        pairs.truncate(PAIRS);
        // Each phase has as many of the singles, whichever these are.
        let first = dice.random_range(0..PHASES.len());
        let mut phases: Vec<Phase> =
            (0..singles.len() + PAIRS).map(|n| PHASES[(first + n) % PHASES.len()]).collect();
        phases.shuffle(dice);
        let hits = singles.into_iter().chain(pairs);
        cases.extend(phases.into_iter().zip(hits).map(|(phase, hits)| Case { phase, hits }));
    }
    cases.shuffle(dice);
    cases
}

#[tokio::test(flavor = "multi_thread")]
async fn every_part_may_be_killed_hung_and_restarted_at_any_time() {
    let seed = variable("FAULTS_SEED").map_or_else(|| now_ns() % 1_000_000, |s| s.parse().unwrap());
    let mut dice = ChaCha8Rng::seed_from_u64(seed);
    let cases = cases(&mut dice);
    eprintln!("FAULTS_SEED={seed}, {} cases", cases.len());
    let mut scene = Scene::start(seed).await;
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    for (n, case) in cases.iter().enumerate() {
        eprintln!("{:6.1} s: {n}. {case}", began.elapsed().as_secs_f32());
        slowest = slowest.max(scene.play(case, &mut dice).await);
    }
    eprintln!(
        "{} envelopes, {} starts after an end, the slowest recovery took {slowest:?}",
        scene.sent.len(),
        scene.parts.restarts()
    );
    let database = Database::connect(&scene.parts.database_url).await;
    database.log_is(&scene.sent).await;
    assert_eq!(database.contradictions().await, [""; 0]);
    drop(database);
    scene.parts.stop();
}

/// The pipeline, a node, and what the node was given.
struct Scene {
    parts: Parts,
    node: Devnet,
    traffic: Traffic,
    sent: BTreeSet<Identity>,
}

impl Scene {
    async fn start(seed: u64) -> Scene {
        let node = Devnet::start(Options::default(), CancellationToken::new()).await.unwrap();
        // Clocks are exact here, so a sweep need not go far back. A database that is killed forgets the names that were derived
        // last, until they are derived again: such topics are read back, and nobody has to wait a minute for it here.
        let options = "{ sweep_overlap_seconds = 5, read_back_seconds = 5 }";
        let settings = format!(
            "[[sources]]\nname = \"node\"\nkind = \"message-api\"\nurl = \"{}\"\noptions = {options}\n",
            node.grpc_url()
        );
        let parts = Parts::start(&settings).await;
        let traffic = Traffic::like(&capture::envelopes("legacy-a/envelopes.ndjson.gz"), seed);
        let mut scene = Scene { parts, node, traffic, sent: BTreeSet::new() };
        until("the node's stream is open", LONG, async || {
            let query = "{ status { sources { connected } } }";
            let answer = scene.parts.graph.try_ask(query, serde_json::Value::Null).await.ok()?;
            answer["data"]["status"]["sources"][0]["connected"].as_bool().filter(|open| *open)
        })
        .await;
        // What is missed later is asked for by name.
        let all = scene.traffic.on_every_topic(now_ns());
        scene.give(all);
        scene.whole().await;
        scene
    }

    fn give(&mut self, envelopes: Vec<wire::Envelope>) {
        self.sent.extend(envelopes.iter().map(identity));
        self.node.publish(envelopes);
    }

    fn publish(&mut self, publications: usize) {
        for _ in 0..publications {
            let envelopes = self.traffic.next(now_ns());
            self.give(envelopes);
        }
    }

    /// What goes on meanwhile: clients publish, and supervisors start again what ended.
    async fn live(&mut self) {
        self.publish(2);
        self.parts.tend();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    /// What the API says, if it answers.
    async fn seen(&self) -> Option<Progress> {
        tokio::time::timeout(Duration::from_secs(5), progress(&self.parts.graph)).await.ok()?
    }

    /// Plays a case; how long the recovery took.
    async fn play(&mut self, case: &Case, dice: &mut ChaCha8Rng) -> Duration {
        self.prepare(case, dice).await;
        for (part, fault) in &case.hits {
            self.parts.suffer(*part, *fault).await;
        }
        // Clients do not wait for us.
        let began = Instant::now();
        let hung: Vec<Part> =
            case.hits.iter().filter(|(_, fault)| *fault == Fault::Hang).map(|hit| hit.0).collect();
        self.publish(10);
        while !hung.is_empty() && began.elapsed() < HANG {
            self.live().await;
        }
        for part in hung {
            self.parts.release(part);
        }
        let began = Instant::now();
        self.recovered(case, began).await;
        let took = began.elapsed();
        self.whole().await;
        took
    }

    async fn prepare(&mut self, case: &Case, dice: &mut ChaCha8Rng) {
        match case.phase {
            Phase::Start => {
                for (part, _) in &case.hits {
                    if !Part::ROLES.contains(part) {
                        self.parts.starts(*part).await;
                    }
                }
                self.parts.take_down(&Part::ROLES);
                self.publish(20);
                self.parts.bring_back();
                until("every role is started", LONG, async || {
                    self.parts.tend();
                    self.parts.all_run().then_some(())
                })
                .await;
                // Some faults come before the first connection is open, and some when work has begun.
                let moment = Duration::from_millis(dice.random_range(0..400));
                tokio::time::sleep(moment).await;
            }
            Phase::CatchUp => {
                let before = self.sent.len() as u64;
                self.parts.take_down(&WRITERS);
                self.publish(BACKLOG);
                self.parts.bring_back();
                let begun = async || {
                    self.parts.tend();
                    self.seen().await.filter(|seen| seen.visible > before)
                };
                until("some of what waits is caught up with", LONG, begun).await;
            }
            Phase::Steady => {
                let before = self.sent.len() as u64;
                let grows = async || {
                    self.live().await;
                    self.seen().await.filter(|seen| seen.visible > before)
                };
                until("new envelopes become visible", LONG, grows).await;
            }
        }
    }

    /// Waits until every role is ready. One that is not must end, and then the next run of it has as long.
    async fn recovered(&mut self, case: &Case, began: Instant) {
        loop {
            self.live().await;
            let lacking = self.parts.not_ready().await;
            if lacking.is_empty() {
                return;
            }
            for (part, runs, said) in &lacking {
                let over = began.elapsed().min(*runs) > RECOVERY;
                assert!(!over, "{case}: {part:?} is not ready and did not end: {said}");
            }
            assert!(began.elapsed() < LONG, "{case}: these do not become ready: {lacking:?}");
        }
    }

    /// Waits until everything that was published is visible, each once.
    async fn whole(&mut self) {
        let (mut last, sent) = (None, self.sent.len() as u64);
        let (began, parts) = (Instant::now(), &mut self.parts);
        loop {
            parts.tend();
            let seen = tokio::time::timeout(RECOVERY, progress(&parts.graph)).await;
            last = seen.ok().flatten().or(last);
            if let Some(seen) = last {
                assert_eq!(seen.parked, 0, "{seen:?}");
                assert!(seen.visible <= sent, "more than the {sent} that were sent: {seen:?}");
                if seen.visible == sent && seen.queued_pages == Some(0) && seen.lag == 0 {
                    return;
                }
            }
            assert!(began.elapsed() < LONG, "{sent} were sent, and this came: {last:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
