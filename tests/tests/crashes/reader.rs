//! A reader who pages forward through everything meanwhile.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{graphql::Graph, patience::LONG, tables::Identity};
use tokio::sync::watch;

/// Pages forward through everything while all this goes on, through whoever serves.
pub(crate) struct Reader {
    graph: Arc<Mutex<Graph>>,
    seen: Vec<Identity>,
}

impl Reader {
    pub(crate) fn new(graph: Arc<Mutex<Graph>>) -> Reader {
        Reader { graph, seen: Vec::new() }
    }

    /// Until it has seen as many as there are in the end.
    pub(crate) async fn read(mut self, goal: watch::Receiver<Option<usize>>) -> Vec<Identity> {
        let query = "query($after: String) { envelopes(first: 500, after: $after) {
            nodes { timestampNs digest } pageInfo { endCursor } } }";
        let mut cursor = Value::Null;
        let mut began = Instant::now();
        loop {
            let goal = *goal.borrow();
            match goal {
                None => began = Instant::now(),
                Some(goal) => assert!(
                    began.elapsed() < LONG,
                    "a reader who paged forward saw {} of {goal}",
                    self.seen.len()
                ),
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
                // At the end of all there is.
                if page.is_ok() && goal.is_some_and(|goal| self.seen.len() >= goal) {
                    return self.seen;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            for node in &nodes {
                let digest: wire::Digest = node["digest"].as_str().unwrap().parse().unwrap();
                let ns = node["timestampNs"].as_str().unwrap().parse().unwrap();
                self.seen.push((ns, *digest.as_bytes()));
            }
            cursor = page.unwrap()["pageInfo"]["endCursor"].take();
        }
    }
}

pub(crate) fn the_reader_saw_each_once(seen: &[Identity], distinct: &BTreeSet<Identity>) {
    let different: BTreeSet<Identity> = seen.iter().copied().collect();
    assert_eq!(different.len(), seen.len(), "a reader who paged forward saw something twice");
    let missed = distinct.difference(&different).count();
    assert_eq!(missed, 0, "a reader who paged forward missed something");
    assert_eq!(different.len(), distinct.len());
}
