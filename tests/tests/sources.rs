//! Sources whose nodes misbehave: what they leave out is read all the same, or reported as a gap.
#![cfg(test)]

use devnet::{Devnet, Options};
use ingest::{Names, Puller, PullerOptions, Queue, Source, Worker, WorkerOptions};
use store::{Gap, GapState, Progress, Projector, Store, sources::Source as Reported};
use tests::{
    capture,
    patience::{LONG, until},
    scratch::{Scratch, server},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wire::Envelope;

/// Everything but the puller: a queue, a worker and a projector on a database of their own.
struct Scene {
    scratch: Scratch,
    store: Store,
    queue: Queue,
    stop: CancellationToken,
}

impl Scene {
    async fn new(what: &str) -> Scene {
        let scratch = Scratch::new(&format!("sources_{what}")).await;
        let store = Store::connect(store::Options::new(scratch.url.clone())).await.unwrap();
        store.migrate().await.unwrap();
        let prefix = format!("sources-{what}-{}", std::process::id());
        let queue =
            Queue::at(&server("AMQP_URL"), Names::prefixed(&prefix).unwrap(), "test").unwrap();
        queue.declare().await.unwrap();
        let stop = CancellationToken::new();
        let options = WorkerOptions::default();
        let worker = Worker { queue: queue.clone(), store: store.clone(), options };
        tokio::spawn(worker.run(stop.clone()));
        let projector =
            Projector::new(store.clone(), Default::default(), store::projector::Config::default());
        tokio::spawn(projector.run(stop.clone()));
        Scene { scratch, store, queue, stop }
    }

    /// A source named `node` that looks soon whether silence is silence.
    fn source(urls: &[String]) -> Source {
        let url = urls[0].clone();
        let mut source = Source::new("node", "message-api".parse().unwrap(), url);
        source.urls = urls.to_vec();
        source.options.insert("silence_seconds".into(), 2.into());
        source
    }

    fn pull(&self, source: Source, stop: CancellationToken) -> JoinHandle<ingest::Result<()>> {
        let options = PullerOptions::default();
        let (queue, store) = (self.queue.clone(), self.store.clone());
        tokio::spawn(Puller { queue, store, source, options }.run(stop))
    }

    async fn reported(&self) -> Reported {
        until("the source is reported", LONG, async || self.store.source("node").await.unwrap())
            .await
    }

    async fn connected(&self) {
        until("the stream is open", LONG, async || {
            self.store.source("node").await.unwrap().filter(|source| source.connected)
        })
        .await;
    }

    async fn has(&self, envelopes: &[Envelope]) {
        let what = format!("the log has {} envelopes", envelopes.len());
        until(&what, LONG, async || {
            let known = self.store.known_envelopes(envelopes).await.unwrap();
            known.iter().all(|known| *known).then_some(())
        })
        .await;
        // The names are known when they are derived.
        until("the projections have caught up", LONG, async || {
            let head = self.store.head().await.unwrap();
            let marks = self.store.watermarks().await.unwrap();
            (!marks.is_empty() && marks.iter().all(|mark| mark.position >= head)).then_some(())
        })
        .await;
    }

    async fn gap(&self, shard: &str) -> Gap {
        until(&format!("there is a gap in {shard}"), LONG, async || {
            self.reported().await.gaps.into_iter().find(|gap| gap.shard == shard)
        })
        .await
    }

    async fn no_gaps(&self) {
        until("there is no gap", LONG, async || {
            let source = self.reported().await;
            // What nobody can ask for stays a gap.
            let gaps = source.gaps.iter().filter(|gap| gap.shard != "unnamed").count();
            (source.connected && gaps == 0).then_some(())
        })
        .await;
    }

    async fn close(self) {
        self.stop.cancel();
        self.scratch.drop().await;
    }
}

async fn node() -> Devnet {
    Devnet::start(Options::default(), CancellationToken::new()).await.unwrap()
}

/// Messages of one conversation.
fn messages(count: usize, from_ns: u64) -> Vec<Envelope> {
    let all = capture::envelopes("legacy-a/envelopes.ndjson.gz");
    let topic = |envelope: &&Envelope| envelope.topic.starts_with(b"/xmtp/0/m-");
    let one = all.iter().find(topic).unwrap();
    (0..count as u64).map(|n| Envelope { timestamp_ns: from_ns + n, ..one.clone() }).collect()
}

fn now_ns() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_nanos().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_leaves_envelopes_out_is_noticed() {
    let (scene, node) = (Scene::new("silent").await, node().await);
    let stop = CancellationToken::new();
    let pulling = scene.pull(Scene::source(&[node.grpc_url()]), stop.clone());
    scene.connected().await;
    let heard = messages(3, now_ns());
    node.publish(heard.clone());
    scene.has(&heard).await;
    // It goes on storing, and its streams stay open.
    node.mute(true);
    let unheard = messages(150, now_ns());
    node.publish(unheard.clone());
    scene.has(&unheard).await;
    // After that it is what it was.
    node.mute(false);
    scene.no_gaps().await;
    let heard = messages(2, now_ns());
    node.publish(heard.clone());
    scene.has(&heard).await;
    stop.cancel();
    pulling.await.unwrap().unwrap();
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_skips_nothing() {
    let (scene, node) = (Scene::new("clock").await, node().await);
    let first = CancellationToken::new();
    let pulling = scene.pull(Scene::source(&[node.grpc_url()]), first.clone());
    scene.connected().await;
    node.publish(messages(1, now_ns()));
    scene.has(&messages(0, 0)).await;
    scene.no_gaps().await;
    first.cancel();
    pulling.await.unwrap().unwrap();
    // Missed by the next run, whose progress says that it is in the future.
    let missed = messages(5, now_ns());
    node.preload(missed.clone());
    let upto = i64::try_from(now_ns()).unwrap() + 86_400_000_000_000 * 365;
    let progress = vec![Progress { shard: "whole-until".into(), upto }];
    let page = store::Page { source: "node".into(), progress, records: Vec::new() };
    scene.store.append(&[page]).await.unwrap();
    let stop = CancellationToken::new();
    let pulling = scene.pull(Scene::source(&[node.grpc_url()]), stop.clone());
    scene.has(&missed).await;
    until("progress is not in the future any more", LONG, async || {
        let upto = scene.reported().await.upto("whole-until");
        (upto > 0 && upto <= i64::try_from(now_ns()).unwrap()).then_some(())
    })
    .await;
    stop.cancel();
    pulling.await.unwrap().unwrap();
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_a_node_cannot_give_is_a_gap_and_hides_nothing_else() {
    let (scene, node) = (Scene::new("gap").await, node().await);
    let first = CancellationToken::new();
    let pulling = scene.pull(Scene::source(&[node.grpc_url()]), first.clone());
    scene.connected().await;
    // Many topics, so that there are neighbours to hide.
    let known: Vec<Envelope> =
        capture::envelopes("legacy-a/envelopes.ndjson.gz").into_iter().take(300).collect();
    node.publish(known.clone());
    let known: Vec<Envelope> = known.into_iter().filter(|one| wire::admit(one).is_ok()).collect();
    scene.has(&known).await;
    scene.no_gaps().await;
    first.cancel();
    pulling.await.unwrap().unwrap();

    let bad = String::from_utf8(known[0].topic.to_vec()).unwrap();
    node.fail_at(&bad, true);
    let missed: Vec<Envelope> = known
        .iter()
        // Nodes do not store what is ephemeral.
        .filter(|one| one.topic != known[0].topic && !one.topic.starts_with(b"/xmtp/0/mE-"))
        .enumerate()
        .map(|(n, one)| Envelope { timestamp_ns: now_ns() + n as u64, ..one.clone() })
        .collect();
    node.preload(missed.clone());
    let hidden = Envelope { timestamp_ns: now_ns(), ..known[0].clone() };
    node.preload(vec![hidden.clone()]);
    let stop = CancellationToken::new();
    let mut source = Scene::source(&[node.grpc_url()]);
    source.options.insert("read_back_seconds".into(), 1.into());
    // A later sweep begins behind what this gap hides.
    source.options.insert("sweep_overlap_seconds".into(), 0.into());
    let pulling = scene.pull(source, stop.clone());
    scene.has(&missed).await;
    let shard = format!("topic {bad}");
    let gap = scene.gap(&shard).await;
    assert_eq!(gap.state, GapState::Open);
    assert!(gap.reason.contains("a fault that was injected"), "{}", gap.reason);
    // The node is healed: the gap is read from where it began, and closed. A sweep since then would not do.
    node.fail_at(&bad, false);
    node.drop_streams();
    scene.no_gaps().await;
    scene.has(&[hidden]).await;
    stop.cancel();
    pulling.await.unwrap().unwrap();
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reads_and_another_takes_over_from_another_address() {
    let (scene, node) = (Scene::new("standby").await, node().await);
    // Nobody is at the first address.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let urls = [format!("http://{nobody}"), node.grpc_url()];
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let leading = scene.pull(Scene::source(&urls), first.clone());
    scene.connected().await;
    let standing_by = scene.pull(Scene::source(&urls), second.clone());
    let read = messages(2, now_ns());
    node.publish(read.clone());
    scene.has(&read).await;
    // It dies without a word: its connections end, and with them its lead.
    leading.abort();
    let _ = leading.await;
    let missed = messages(2, now_ns());
    node.publish(missed.clone());
    scene.has(&missed).await;
    second.cancel();
    standing_by.await.unwrap().unwrap();
    first.cancel();
    scene.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_of_the_gateway_is_told_from_that_of_grpc() {
    let scene = Scene::new("port").await;
    let options = Options { http: Some(([127, 0, 0, 1], 0).into()), ..Options::default() };
    let node = Devnet::start(options, CancellationToken::new()).await.unwrap();
    let stop = CancellationToken::new();
    let pulling = scene.pull(Scene::source(&[node.http_url().unwrap()]), stop.clone());
    let error =
        until("the status says what is wrong", LONG, async || scene.reported().await.error).await;
    assert!(error.contains("HTTP/JSON gateway"), "{error}");
    stop.cancel();
    pulling.await.unwrap().unwrap();
    scene.close().await;
}

/// Who adds a kind of node adds a folder, and names it once in the registry.
#[test]
fn a_kind_of_node_is_a_folder_and_a_line() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/ingest/src");
    let mut folders = vec![root.clone()];
    let mut naming = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                // The folder of the kind itself.
                folders.extend((!path.ends_with("source/message_api")).then_some(path));
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let names = |line: &&str| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains("message_api::MessageApi") || code.contains("\"message-api\"")
            };
            let lines = text.lines().filter(names).count();
            naming
                .extend((lines > 0).then(|| (path.strip_prefix(&root).unwrap().to_owned(), lines)));
        }
    }
    assert_eq!(naming, [(std::path::PathBuf::from("source/mod.rs"), 1)]);
}
