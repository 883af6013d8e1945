//! Who pages forward over `envelopes` while workers write sees every envelope exactly once, and everybody sees the same.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use bench::machine::cpu_seconds;
use devnet::generate::{Config, Traffic};
use serde_json::{Value, json};
use tests::{
    folder::Folder,
    graphql::Graph,
    nemesis::Role,
    patience::LONG,
    program::{Program, succeed},
    world::{announced, start_serve},
};
use tokio::sync::watch;

const ENVELOPES: usize = 16_000;
const WORKERS: usize = 4;
/// A filter, and the size of a page.
const READERS: [(&str, usize); 6] =
    [("", 1), ("", 37), ("", 100), ("", 499), ("", 500), ("filter: { kinds: [INVITE] }", 10)];

#[tokio::test(flavor = "multi_thread")]
async fn who_pages_forward_beside_many_writers_sees_each_once() {
    let folder = Folder::new();
    let data = folder.data();
    let data = data.to_str().unwrap();
    let mut services = Program::start(folder.path(), &["services", "--data-dir", data], &[]);
    announced(&folder, &mut services).await;
    succeed(folder.path(), &["migrate", "--data-dir", data], &[]);
    let mut traffic = Traffic::new(11, Config::default());
    let mut envelopes = Vec::new();
    while envelopes.len() < ENVELOPES {
        envelopes.extend(traffic.next(1_700_000_000_000_000_000 + envelopes.len() as u64 * 1_000));
    }
    let distinct: HashSet<_> =
        envelopes.iter().map(|e| (e.timestamp_ns, *e.digest().as_bytes())).collect();
    let line = |envelope: &wire::Envelope| {
        let topic = std::str::from_utf8(&envelope.topic).unwrap();
        wire::json::to_line(topic, envelope.timestamp_ns, &envelope.message) + "\n"
    };
    let text: String = envelopes.iter().map(line).collect();
    folder.write("envelopes.ndjson", &text);
    // Everything is in the queue twice, from two sources: writers also meet over what they write.
    for source in ["one", "other"] {
        let import = ["import", "envelopes.ndjson", "--source", source, "--data-dir", data];
        succeed(folder.path(), &import, &[]);
    }

    let (mut serve, graph, _) = start_serve(&folder, &[]).await;
    let wanted = distinct.len();
    // How many invitations there are is known when all of them are visible.
    let (invitations, goal) = watch::channel(usize::MAX);
    let (_all, everything) = watch::channel(wanted);
    let readers = READERS.map(|(filter, size)| {
        let goal = if filter.is_empty() { everything.clone() } else { goal.clone() };
        tokio::spawn(read(graph.clone(), filter, size, goal))
    });
    // Small commits, so that there are many.
    let index = ["index", "--set", "queue.prefetch=4"];
    let mut others = vec![Role::start(&folder, &["project"], &[])];
    others.extend((0..WORKERS).map(|_| Role::start(&folder, &index, &[])));

    let mut seen = Vec::new();
    for ((filter, _), reader) in READERS.iter().zip(readers) {
        if !filter.is_empty() {
            let all = graph.count("envelopes", "kinds: [INVITE]").await;
            invitations.send(all.try_into().unwrap()).unwrap();
        }
        seen.push(reader.await.unwrap());
    }
    // They read while it was written, and all writers wrote.
    let busy: Vec<f64> =
        others[1..].iter_mut().map(|worker| cpu_seconds(worker.program().pid())).collect();
    let most = busy.iter().copied().fold(0.0, f64::max);
    assert!(busy.iter().all(|busy| *busy > most / 10.0), "some had nothing to write: {busy:?}");
    for ((filter, size), (pages, seen)) in READERS.iter().zip(&seen) {
        let different: HashSet<&String> = seen.iter().collect();
        assert_eq!(different.len(), seen.len(), "{filter} {size}: something came twice");
        assert!(*pages > 5, "{filter} {size}: all was there before it read");
        if filter.is_empty() {
            // The shortest and the longest page show the same log.
            assert_eq!(seen.len(), wanted, "{size}");
        }
    }
    for (_, other) in &seen[1..READERS.len() - 1] {
        assert!(*other == seen[0].1, "two readers saw another order");
    }
    // The one who filtered, too.
    let answer = graph.all(invites(), 500, 499).await;
    let all: Vec<&str> = answer.iter().map(|node| node["id"].as_str().unwrap()).collect();
    assert_eq!(seen[READERS.len() - 1].1, all);

    for role in &mut others {
        role.program().stop();
    }
    assert!(serve.stop().success(), "{}", serve.tail());
    assert!(services.stop().success(), "{}", services.tail());
}

fn invites() -> tests::graphql::List<'static> {
    let arguments = "filter: { kinds: [INVITE] }, ";
    tests::graphql::List { field: "envelopes", arguments, node: "id" }
}

/// Pages forward until so many were seen and nothing follows; how many pages that took.
async fn read(
    graph: Graph,
    filter: &str,
    size: usize,
    goal: watch::Receiver<usize>,
) -> (usize, Vec<String>) {
    let query = format!(
        "query($after: String, $first: Int) {{ envelopes({filter} first: $first, after: $after) {{
            nodes {{ id }} pageInfo {{ endCursor hasNextPage }} }} }}"
    );
    let (mut pages, mut seen, mut after) = (0, Vec::new(), Value::Null);
    let began = Instant::now();
    // The shortest pages would take their time: they grow when there is much to read.
    let mut first = size;
    loop {
        let goal = *goal.borrow();
        assert!(began.elapsed() < 2 * LONG, "{filter} {size}: {} of {goal} came", seen.len());
        let mut answer = graph.ask(&query, json!({ "after": after, "first": first })).await;
        let page = &mut answer["envelopes"];
        let nodes = page["nodes"].as_array().unwrap();
        assert!(nodes.len() <= first, "a page of {}", nodes.len());
        if nodes.is_empty() {
            if seen.len() >= goal {
                return (pages, seen);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        seen.extend(nodes.iter().map(|node| node["id"].as_str().unwrap().to_owned()));
        first =
            if page["pageInfo"]["hasNextPage"] == json!(true) { 500.min(first * 2) } else { size };
        after = page["pageInfo"]["endCursor"].take();
        pages += 1;
    }
}
