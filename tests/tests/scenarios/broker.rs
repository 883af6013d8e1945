//! RabbitMQ as operators run it: a cluster whose nodes die, alarms, acknowledgements that come too late.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use bytes::Bytes;
use ingest::{Health, Names, Publisher, PublisherOptions, Queue, Worker, WorkerOptions};
use serde_json::Value;
use store::{Page, Record, Store};
use tests::{
    cluster::Cluster,
    folder::Folder,
    graphql::Graph,
    patience::{LONG, until},
    program::run,
    tables::Database,
    world::{announced, start_up},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Records of a page.
const RECORDS: u64 = 20;
/// How soon publishing must go on after the death of a leader. An election takes about as long as Erlang needs to notice.
const SOON: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "tests get their database from the environment")]
fn server() -> String {
    std::env::var("DATABASE_URL").expect("DATABASE_URL names the server to test on")
}

/// A database and a queue on a cluster, with a worker between them.
struct Line {
    admin: Database,
    name: String,
    url: String,
    store: Store,
    queue: Queue,
    stop: CancellationToken,
    worker: JoinHandle<ingest::Result<()>>,
}

impl Line {
    async fn on(cluster: &Cluster, what: &str) -> Line {
        let admin = Database::connect(&server()).await;
        let name = format!("broker_{what}_{}", std::process::id());
        let url = admin.make_another(&server(), &name).await;
        let store = Store::connect(store::Options::new(&url)).await.unwrap();
        store.migrate().await.unwrap();
        let names = Names::prefixed(what).unwrap();
        let queue = Queue::connect(&cluster.url(), names, "local").await.unwrap();
        let stop = CancellationToken::new();
        let options = WorkerOptions::default();
        let worker = Worker { queue: queue.clone(), store: store.clone(), options };
        let worker = tokio::spawn(worker.run(stop.clone()));
        Line { admin, name, url, store, queue, stop, worker }
    }

    fn publisher(&self, confirm_timeout: Duration) -> (Publisher, JoinHandle<()>) {
        let options = PublisherOptions { confirm_timeout, ..PublisherOptions::default() };
        Publisher::start(self.queue.clone(), options, CancellationToken::new())
    }

    /// Waits until the log holds these pages, and checks that it holds nothing else.
    async fn holds(&self, pages: u64) {
        let wanted = i64::try_from(pages * RECORDS).unwrap();
        until(&format!("the log holds {wanted} envelopes"), 2 * LONG, async || {
            assert!(!self.worker.is_finished(), "the worker outlives the broker");
            (self.store.head().await.ok()?.0 >= wanted).then_some(())
        })
        .await;
        until("the queue is empty", LONG, async || {
            self.queue.depth().await.ok().filter(|depth| depth.ready == 0)
        })
        .await;
        let database = Database::connect(&self.url).await;
        let log = database.log().await;
        assert_eq!(log.len(), usize::try_from(wanted).unwrap());
        let times: std::collections::BTreeSet<u64> = log.iter().map(|(time, _)| *time).collect();
        assert_eq!(times, (0..pages * RECORDS).collect(), "each once, and none is missing");
        assert_eq!(self.store.parked_count().await.unwrap(), 0);
        assert_eq!(self.queue.depth().await.unwrap().parked, 0);
    }

    async fn end(self) {
        self.stop.cancel();
        self.worker.await.unwrap().unwrap();
        self.store.close().await;
        self.admin.execute(&format!("drop database {} with (force)", self.name)).await;
    }
}

fn page(number: u64) -> Page {
    let record = |timestamp_ns| -> Record {
        let topic = Bytes::from_static(b"/xmtp/0/m-1/proto");
        wire::Envelope { topic, timestamp_ns, message: Bytes::from(vec![7; 300]) }.into()
    };
    let times = number * RECORDS..(number + 1) * RECORDS;
    Page { source: "node".into(), progress: Vec::new(), records: times.map(record).collect() }
}

async fn send(publisher: &Publisher, pages: Range<u64>) {
    for number in pages {
        publisher.send_page(page(number)).await.unwrap();
    }
}

/// Publishes without a break until it is stopped; returns how many pages.
fn flow(publisher: Publisher, stop: CancellationToken) -> JoinHandle<u64> {
    tokio::spawn(async move {
        let mut number = 0;
        while !stop.is_cancelled() {
            send(&publisher, number..number + 1).await;
            number += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        publisher.confirmed(publisher.last_sent()).await.unwrap();
        number
    })
}

/// How long it takes until the broker confirms what is sent from now on.
async fn confirms_again(publisher: &Publisher) -> Duration {
    let (began, sent) = (Instant::now(), publisher.last_sent());
    until("publishing goes on", LONG, async || {
        (publisher.last_confirmed() > sent).then(|| began.elapsed())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_loses_and_doubles_nothing_when_the_leader_of_its_queue_is_killed() {
    let mut cluster = Cluster::start(3, "", "[].\n").await;
    let line = Line::on(&cluster, "leader").await;
    let (publisher, task) = line.publisher(PublisherOptions::default().confirm_timeout);
    let stop = CancellationToken::new();
    let flow = flow(publisher.clone(), stop.clone());
    confirms_again(&publisher).await;
    let mut killed = Vec::new();
    for _ in 0..3 {
        let leader = cluster.leader(&line.queue.names().queue).await;
        cluster.kill(leader);
        let gap = confirms_again(&publisher).await;
        eprintln!("node {leader} led and was killed: publishing went on after {gap:?}");
        assert!(gap < SOON, "publishing stood still for {gap:?}");
        killed.push(leader);
        cluster.revive(leader).await;
    }
    assert!(
        killed.windows(2).all(|two| two[0] != two[1]),
        "another node led each time: {killed:?}"
    );
    stop.cancel();
    let pages = flow.await.unwrap();
    assert!(pages > 100, "{pages}");
    line.holds(pages).await;
    drop(publisher);
    task.await.unwrap();
    line.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_without_a_leader_is_an_error_everywhere_until_it_has_one_again() {
    let mut cluster = Cluster::start(3, "", "[].\n").await;
    let line = Line::on(&cluster, "xmtp").await;
    let (publisher, task) = line.publisher(Duration::from_secs(10));
    send(&publisher, 0..50).await;
    line.holds(50).await;
    assert_eq!(line.queue.health(), Health::Working);

    // The program on the same services, as operators see it.
    let (folder, url) = (Folder::new(), cluster.url());
    let variables = [("DATABASE_URL", line.url.as_str()), ("AMQP_URL", url.as_str())];
    let mut up = start_up(&folder, &[], &variables);
    let running = announced(&folder, &mut up).await;
    let graph = Graph::at(running.http_url.as_deref().unwrap());
    let readiness = async || graph.get("/readyz").await.unwrap_or_else(|error| error);
    until("it is ready", LONG, async || readiness().await.contains("\"ready\"").then_some(()))
        .await;

    let leader = cluster.leader(&line.queue.names().queue).await;
    let (next, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(leader);
    cluster.kill(next);
    let began = Instant::now();
    let fault = until("the worker knows", LONG, async || line.queue.fault()).await;
    until("the server is not ready", LONG, async || {
        readiness().await.contains("\"queue\"").then_some(())
    })
    .await;
    eprintln!("noticed after {:?}: {fault}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    send(&publisher, 50..60).await;
    let sent = publisher.last_sent();
    // The depth of such a queue is a number all the same.
    until("the queue says that it has no leader", LONG, async || {
        let error = line.queue.check_leader().await.err()?;
        matches!(error, ingest::Error::NoLeader { .. }).then_some(())
    })
    .await;
    let status = run(folder.path(), &["status", "--json"], &variables);
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    let error = status["queue"]["error"].as_str().unwrap_or_default();
    assert!(error.contains("it has no leader"), "{status}");
    assert!(up.log().contains("the queue does not work"), "{}", up.tail());
    assert!(publisher.last_confirmed() < sent, "nobody confirms");

    cluster.revive(next).await;
    let back = Instant::now();
    publisher.confirmed(sent).await.unwrap();
    until("the worker knows", LONG, async || line.queue.fault().is_none().then_some(())).await;
    until("it is ready", LONG, async || readiness().await.contains("\"ready\"").then_some(()))
        .await;
    eprintln!("it works again {:?} after node {next} was back beside {other}", back.elapsed());
    line.holds(60).await;
    assert!(up.stop().success(), "{}", up.tail());
    drop(publisher);
    task.await.unwrap();
    line.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alarm_is_waited_out_on_one_connection() {
    let cluster = Cluster::start(1, "", "[].\n").await;
    let line = Line::on(&cluster, "alarm").await;
    // Less than the alarm lasts: without it, the publisher would give the connection up.
    let patience = Duration::from_secs(3);
    let (publisher, task) = line.publisher(patience);
    send(&publisher, 0..50).await;
    publisher.confirmed(50).await.unwrap();
    let connections = connections_of_publishers(&cluster).await;
    assert_eq!(connections.len(), 1);
    cluster.control(0, &["set_vm_memory_high_watermark", "absolute", "1"]).unwrap();
    until("the broker has an alarm", LONG, async || {
        let report = cluster.control(0, &["status", "--formatter=json"])?;
        let report: Value = serde_json::from_str(&report).ok()?;
        report["alarms"].as_array().filter(|alarms| !alarms.is_empty()).map(drop)
    })
    .await;
    send(&publisher, 50..100).await;
    let began = Instant::now();
    until("several patiences are over", LONG, async || {
        assert!(publisher.last_confirmed() < 100, "the broker confirms in spite of its alarm");
        (began.elapsed() > 4 * patience).then_some(())
    })
    .await;
    assert_eq!(
        connections_of_publishers(&cluster).await,
        connections,
        "no other connection was opened"
    );
    cluster.control(0, &["set_vm_memory_high_watermark", "0.6"]).unwrap();
    publisher.confirmed(100).await.unwrap();
    assert_eq!(
        connections_of_publishers(&cluster).await,
        connections,
        "and it went on on the same one"
    );
    line.holds(100).await;
    drop(publisher);
    task.await.unwrap();
    line.end().await;
}

/// Process ids that the broker has for connections of publishers: another connection has another one.
async fn connections_of_publishers(cluster: &Cluster) -> Vec<String> {
    until("connections are listed", LONG, async || {
        let listed = cluster.control(0, &["list_connections", "pid", "client_properties"])?;
        let ours = listed.lines().filter(|line| line.contains("xmtp-indexer publisher"));
        let pids = ours.filter_map(|line| line.split('\t').next().map(str::to_owned));
        Some(pids.collect::<Vec<_>>()).filter(|pids| !pids.is_empty())
    })
    .await
}

/// PostgreSQL holds commits for longer than the broker waits for acknowledgements.
#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledgement_that_comes_too_late_loses_nothing() {
    let advanced = "[{rabbit, [{consumer_timeout, 2000}, {channel_tick_interval, 1000}]}].\n";
    let cluster = Cluster::start(1, "", advanced).await;
    let line = Line::on(&cluster, "timeout").await;
    let (publisher, task) = line.publisher(PublisherOptions::default().confirm_timeout);
    send(&publisher, 0..20).await;
    line.holds(20).await;
    let holder = Database::connect(&line.url).await;
    holder.execute("begin; select from ground.head for update").await;
    send(&publisher, 20..60).await;
    publisher.confirmed(60).await.unwrap();
    let taken = async |wanted: bool| {
        until("pages are delivered, or delivered no longer", LONG, async || {
            let depth = line.queue.depth().await.ok()?;
            ((depth.ready < 40) == wanted).then_some(())
        })
        .await;
    };
    taken(true).await;
    // The broker closes the channel, and the pages are in the queue again.
    taken(false).await;
    assert!(!line.worker.is_finished());
    holder.execute("commit").await;
    line.holds(60).await;
    drop(publisher);
    task.await.unwrap();
    line.end().await;
}
