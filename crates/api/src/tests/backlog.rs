//! Large answers over a socket whose reader takes his time.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use super::{
    fixture::{Indexed, capture},
    server::Serving,
    socket::{Heard, Socket, acknowledged},
};
use crate::Exposure;

/// Operations of a socket at once.
const OPERATIONS: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn large_answers_wait_for_their_reader_and_all_of_them_come() {
    let indexed = Indexed::with(capture()).await;
    let serving = Serving::begin(&indexed, Exposure::default());
    let query = |nth: usize| match nth % 4 {
        0 => "{ status { network } }",
        _ => "{ envelopes(first: 500) { nodes { digest message topic { name } } } }",
    };
    let due: Vec<Value> = {
        let mut due = Vec::new();
        for nth in 0..2 {
            due.push(serving.post(&json!({ "query": query(nth) })).await.json()["data"].clone());
        }
        due
    };
    let size = due[1].to_string().len();
    assert!(size * 15 > 4 << 20, "{size} bytes: what the system keeps holds them all");
    let mut socket = Socket::open(&serving, "").await.unwrap();
    assert_eq!(socket.init(json!({})).await, acknowledged());
    // Twice: what was taken makes room again.
    for _ in 0..2 {
        for nth in 0..OPERATIONS {
            socket.subscribe(&nth.to_string(), query(nth)).await;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut told: HashMap<usize, Value> = HashMap::new();
        let mut ended = 0;
        while ended < OPERATIONS {
            let Heard::Text(message) = socket.hear().await else { panic!("it was closed") };
            let id: usize = message["id"].as_str().unwrap().parse().unwrap();
            match message["type"].as_str().unwrap() {
                "next" => {
                    told.insert(id, message["payload"]["data"].clone());
                }
                "complete" => ended += 1,
                _ => panic!("{message}"),
            }
        }
        assert_eq!(told.len(), OPERATIONS);
        assert!(told.iter().all(|(id, data)| *data == due[usize::from(id % 4 != 0)]));
    }
    serving.end().await;
}
