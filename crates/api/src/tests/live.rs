//! Live readers: everything once and in order, whatever happens to the server in between.

use std::{
    collections::HashSet,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

use super::{
    fixture::{Indexed, capture},
    server::Serving,
    slow::Slow,
};
use crate::Exposure;

const SUBSCRIPTION: &str = "subscription ($after: String) { envelopes(after: $after) { cursor node { digest kind topic { name } } } }";

/// Longer than a reader is told nothing on a busy machine. Only standing still is wrong: how long all of it takes depends
/// on what else runs.
const STALL: Duration = Duration::from_secs(60);

/// Reads events until the stream ends or `enough` says so. Gives the data of each, with the cursor of the last.
pub(super) async fn events(
    addr: SocketAddr,
    query: &str,
    variables: &Value,
    told: &mut Vec<Value>,
    enough: impl Fn(&[Value]) -> bool,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    let body = json!({ "query": query, "variables": variables }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let mut heard = Instant::now();
    loop {
        // Heartbeats are lines, too.
        let line = tokio::time::timeout_at((heard + STALL).into(), lines.next_line()).await;
        let Some(line) = line.unwrap_or_else(|_| panic!("stands still at {}", told.len()))? else {
            return Ok(());
        };
        let Some(data) = line.strip_prefix("data: ") else { continue };
        // The server may have died in the middle of it.
        let Ok(event) = serde_json::from_str::<Value>(data) else { return Ok(()) };
        assert!(event.get("errors").is_none(), "{event}");
        let Some(data) = event["data"].as_object() else { panic!("{event}") };
        told.extend(data.values().cloned());
        heard = Instant::now();
        if enough(told) {
            return Ok(());
        }
    }
}

/// Follows through every end of the server, from the last cursor on.
pub(super) async fn follow(addr: SocketAddr, after: Value, total: usize) -> Vec<Value> {
    let (mut told, mut heard): (Vec<Value>, _) = (Vec::new(), Instant::now());
    while told.len() < total {
        assert!(heard.elapsed() < STALL, "stands still at {}", told.len());
        let before = told.len();
        let after = told.last().map_or(after.clone(), |edge| edge["cursor"].clone());
        let variables = json!({ "after": after });
        if events(addr, SUBSCRIPTION, &variables, &mut told, |told| told.len() >= total)
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if told.len() > before {
            heard = Instant::now();
        }
    }
    told
}

pub(super) fn digests(edges: &[Value]) -> Vec<String> {
    edges.iter().map(|edge| edge["node"]["digest"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_or_told_twice_while_servers_die_and_writers_write() {
    let envelopes: Vec<_> = capture().into_iter().take(1_500).collect();
    let indexed = Indexed::with(envelopes[..100].to_vec()).await;
    let begin = indexed.ask("{ envelopes(first: 1) { edges { cursor } } }", json!({})).await;
    let after = begin["envelopes"]["edges"][0]["cursor"].clone();
    let mut serving = Serving::begin(&indexed, Exposure::default());
    let addr = serving.addr;
    let total =
        envelopes.iter().map(|e| (e.digest(), e.timestamp_ns)).collect::<HashSet<_>>().len() - 1;
    let readers: Vec<_> =
        (0..30).map(|_| tokio::spawn(follow(addr, after.clone(), total))).collect();
    for (nth, part) in envelopes[100..].chunks(70).enumerate() {
        indexed.add(part.to_vec()).await;
        if nth % 4 == 3 {
            serving.end().await;
            serving = Serving::at(&indexed, Exposure::default(), addr);
        }
    }
    let query = "query($first: Int, $after: String) { envelopes(first: $first, after: $after) { nodes { digest } pageInfo { hasNextPage endCursor } } }";
    let mut wanted: Vec<String> = indexed
        .all(query, 400)
        .await
        .iter()
        .map(|node| node["digest"].as_str().unwrap().to_owned())
        .collect();
    wanted.remove(0);
    assert_eq!(wanted.len(), total);
    for reader in readers {
        let told = reader.await.unwrap();
        assert!(digests(&told) == wanted, "{} told", told.len());
    }
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_together_is_told_from_the_same_pages() {
    const READERS: usize = 60;
    let indexed = Indexed::with(capture().into_iter().take(1_500).collect()).await;
    let list = "query($first: Int, $after: String) { envelopes(first: $first, after: $after) { nodes { digest kind } pageInfo { hasNextPage endCursor } } }";
    let log = indexed.all(list, 500).await;
    let edges = "query($after: String) { envelopes(first: 500, after: $after) { edges { cursor } pageInfo { endCursor } } }";
    let (mut cursors, mut after) = (Vec::new(), Value::Null);
    while cursors.len() < log.len() {
        let page = indexed.ask(edges, json!({ "after": after })).await["envelopes"].clone();
        let edges = page["edges"].as_array().unwrap();
        cursors.extend(edges.iter().map(|edge| edge["cursor"].clone()));
        after = page["pageInfo"]["endCursor"].clone();
    }
    // Every third asks for few; they are others.
    let few = "subscription ($after: String) { envelopes(after: $after, filter: { kinds: [INVITE] }) { cursor node { digest kind topic { name } } } }";
    let is_few = |nth: usize| nth % 3 == 2;
    let rest = |nth: usize| {
        // Behind different places: some side by side, some far from all others, in no order.
        let behind = nth * 37 % READERS * if nth < READERS / 2 { 3 } else { 11 };
        let nodes =
            log[behind + 1..].iter().filter(|node| !is_few(nth) || node["kind"] == "INVITE");
        let digests = nodes.map(|node| node["digest"].as_str().unwrap().to_owned());
        (cursors[behind].clone(), digests.collect::<Vec<_>>())
    };
    let serving = Serving::begin(&indexed, Exposure::default());
    let addr = serving.addr;
    let readers: Vec<_> = (0..READERS)
        .map(|nth| {
            let (after, wanted) = rest(nth);
            let total = wanted.len();
            let reading = async move {
                let query = if is_few(nth) { few } else { SUBSCRIPTION };
                let (mut told, variables) = (Vec::new(), json!({ "after": after }));
                let enough = |told: &[Value]| told.len() >= total;
                events(addr, query, &variables, &mut told, enough).await.unwrap();
                told
            };
            (wanted, tokio::spawn(reading))
        })
        .collect();
    let (began, mut rows) = (Instant::now(), 0);
    for (wanted, reader) in readers {
        let told = reader.await.unwrap();
        assert!(digests(&told) == wanted, "{} told, {} wanted", told.len(), wanted.len());
        rows += told.len();
    }
    let (pages, alone) = (serving.hub.past.worked_out(), rows / 100);
    eprintln!("{rows} rows for {READERS} readers from {pages} pages in {:?}", began.elapsed());
    // One page after another would be 15; each reader begins at a place of his own.
    assert!(pages < 100 && alone > 400, "{pages} pages; each for himself: {alone}");
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_cursor_it_begins_at_the_head_and_filters_hold() {
    let envelopes: Vec<_> = capture().into_iter().take(900).collect();
    let indexed = Indexed::with(envelopes[..300].to_vec()).await;
    let owner =
        indexed.ask("{ invites(first: 1) { nodes { recipient { address } } } }", json!({})).await;
    let owner = owner["invites"]["nodes"][0]["recipient"]["address"].clone();
    let serving = Serving::begin(&indexed, Exposure::default());
    let head = indexed.ask("{ status { head } }", json!({})).await["status"]["head"].clone();
    let addr = serving.addr;
    let of = |query: &'static str, variables: Value| {
        tokio::spawn(async move {
            let mut told = Vec::new();
            let stopped = events(addr, query, &variables, &mut told, |_| false);
            // They never end by themselves.
            let _ = tokio::time::timeout(Duration::from_secs(20), stopped).await;
            told
        })
    };
    let filters = [
        json!({}),
        json!({ "kinds": ["INVITE"] }),
        json!({ "topicKinds": ["CONTACT", "DIRECT_MESSAGE"] }),
        json!({ "account": owner }),
        json!({ "generations": ["V1"], "kinds": ["MESSAGE_V1"] }),
    ];
    let query =
        "subscription($f: EnvelopeFilter) { envelopes(filter: $f) { cursor node { digest } } }";
    let live: Vec<_> = filters.iter().map(|f| of(query, json!({ "f": f }))).collect();
    let invites = of("subscription { invites { cursor node { id } } }", json!({}));
    let bundles = of(
        "subscription { contactBundles(filter: { currentOnly: true }) { cursor node { id current } } }",
        json!({}),
    );
    let status = of("subscription { status { envelopeCount } }", json!({}));
    // All of them have begun when the pulse is felt.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for part in envelopes[300..].chunks(60) {
        indexed.add(part.to_vec()).await;
    }
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    serving.end().await;
    let list = "query($f: EnvelopeFilter, $after: String) { envelopes(first: 500, after: $after, filter: $f) { nodes { digest } pageInfo { endCursor } } }";
    for (filter, live) in filters.iter().zip(live) {
        let told = digests(&live.await.unwrap());
        let (mut wanted, mut after) = (Vec::new(), head.clone());
        loop {
            let page = indexed.ask(list, json!({ "f": filter, "after": after })).await["envelopes"]
                .clone();
            let nodes = page["nodes"].as_array().unwrap();
            if nodes.is_empty() {
                break;
            }
            wanted.extend(nodes.iter().map(|node| node["digest"].as_str().unwrap().to_owned()));
            after = page["pageInfo"]["endCursor"].clone();
        }
        assert!(!wanted.is_empty(), "{filter}");
        assert!(told == wanted, "{filter}: {} told, {} wanted", told.len(), wanted.len());
    }
    let told = invites.await.unwrap();
    let ids: HashSet<_> = told.iter().map(|edge| edge["node"]["id"].to_string()).collect();
    assert!(ids.len() == told.len() && !ids.is_empty());
    let told = bundles.await.unwrap();
    assert!(!told.is_empty() && told.iter().all(|edge| edge["node"]["current"].is_boolean()));
    let told = status.await.unwrap();
    assert!(told.len() >= 3, "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_begins_during_a_rebuild_gets_what_is_new_and_nothing_else() {
    let mut envelopes: Vec<_> = capture().into_iter().take(320).collect();
    let news = envelopes.split_off(300);
    let indexed = Indexed::with(envelopes).await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let head =
        async || indexed.ask("{ status { head } }", json!({})).await["status"]["head"].clone();
    let before = head().await;
    indexed.store.rebuild(&["envelopes".to_owned(), "topics".to_owned()]).await.unwrap();
    assert_eq!(head().await, before, "everything is served as before");
    let addr = serving.addr;
    let reading = tokio::spawn(async move {
        let (mut told, variables) = (Vec::new(), json!({ "after": null }));
        let reading = events(addr, SUBSCRIPTION, &variables, &mut told, |told| told.len() >= 20);
        let _ = tokio::time::timeout(STALL, reading).await;
        told
    });
    // It has begun when it waits; then the tables are built again and swapped.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let wanted: Vec<String> =
        news.iter().map(|e| hex::encode_prefixed(e.digest().as_bytes())).collect();
    indexed.add(Vec::new()).await;
    indexed.add(news).await;
    let told = digests(&reading.await.unwrap());
    assert!(told.iter().all(|digest| wanted.contains(digest)), "{} told", told.len());
    assert_eq!(told.len(), wanted.len());
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_of_another_place_are_refused() {
    let indexed = Indexed::with(capture().into_iter().take(50).collect()).await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let other = indexed.ask("{ topics(first: 1) { edges { cursor } } }", json!({})).await;
    let other = other["topics"]["edges"][0]["cursor"].clone();
    let tag = indexed.store.tag().await.unwrap();
    let cursor = |tag, position| {
        crate::types::log_cursor(crate::cursor::Tag(tag), store::Position(position)).unwrap()
    };
    // Of another list, beyond the log, and of another database.
    let (beyond, foreign) = (cursor(tag, 1_000_000), cursor(tag ^ 1, 7));
    for after in [json!("nonsense"), other, json!(beyond), json!(foreign)] {
        let headers = "content-type: application/json\r\naccept: text/event-stream\r\n";
        let body = json!({ "query": SUBSCRIPTION, "variables": { "after": after } }).to_string();
        let got = serving.send("POST", "/graphql", headers, body.as_bytes()).await;
        assert!(
            got.text().contains("BAD_CURSOR") && got.text().contains("event: complete"),
            "{}",
            got.text()
        );
    }
    serving.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_is_cut_off_and_can_resume() {
    let slow = Slow::begin(|_| ()).await;
    let query = format!(
        "subscription($after: String) {{ envelopes(after: $after) {} }}",
        Slow::selection()
    );
    let variables = json!({ "after": slow.after });
    let mut stream = slow.connect().await;
    let body = json!({ "query": query, "variables": variables }).to_string();
    let head = format!(
        "POST /graphql HTTP/1.1\r\nhost: x\r\naccept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    slow.publish(&query, &variables).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    // It looks again, and finds the end: nothing was kept for it beyond what was under way.
    let mut told = Vec::new();
    let mut lines = BufReader::new(stream).lines();
    let reading = async {
        while let Ok(Some(line)) = lines.next_line().await {
            // The last chunk of the answer.
            if line == "0" {
                break;
            }
            let event = line
                .strip_prefix("data: ")
                .and_then(|data| serde_json::from_str::<Value>(data).ok());
            told.extend(
                event
                    .map(|event| event["data"]["envelopes"].clone())
                    .filter(|edge| edge.is_object()),
            );
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("the stream ends");
    slow.resumes(&told).await;
}
