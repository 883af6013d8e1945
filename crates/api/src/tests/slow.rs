//! Somebody who follows the log and takes nothing, over whatever connection: what is told is a beginning of all there is, and
//! the cursor of its end leads to the rest.

use std::{collections::HashSet, time::Duration};

use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use wire::Envelope;

use super::{
    fixture::{Indexed, capture},
    live::{digests, events, follow},
    server::Serving,
};
use crate::Exposure;

/// An index with something in it, and more to come.
pub(super) struct Slow {
    pub(super) indexed: Indexed,
    pub(super) serving: Serving,
    to_come: Vec<Envelope>,
    /// The cursor of what was there when it began.
    pub(super) after: Value,
}

impl Slow {
    pub(super) async fn begin(change: impl FnOnce(&mut Exposure)) -> Slow {
        let mut envelopes: Vec<_> = capture().into_iter().take(700).collect();
        let to_come = envelopes.split_off(50);
        let indexed = Indexed::with(envelopes).await;
        let mut exposure = Exposure::default();
        exposure.sockets.write = Duration::from_millis(400);
        change(&mut exposure);
        let serving = Serving::begin(&indexed, exposure);
        let after = indexed.ask("{ status { head } }", json!({})).await["status"]["head"].clone();
        Slow { indexed, serving, to_come, after }
    }

    /// What is asked for: much for each envelope.
    pub(super) fn selection() -> String {
        let many: String = (0..25).map(|n| format!("m{n}: message ")).collect();
        format!("{{ cursor node {{ digest {many} }} }}")
    }

    /// A connection with little room for it.
    pub(super) async fn connect(&self) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(128 << 10).unwrap();
        socket.connect(self.serving.addr).await.unwrap()
    }

    /// What is to come, comes. Somebody who reads the same has it all: then there is more than the buffers of the system
    /// hold, however busy the machine is.
    pub(super) async fn publish(&self, query: &str, variables: &Value) {
        self.indexed.add(self.to_come.clone()).await;
        let identities = self.to_come.iter().map(|e| (e.digest(), e.timestamp_ns));
        let (mut all, total) = (Vec::new(), identities.collect::<HashSet<_>>().len());
        let enough = |all: &[Value]| all.len() >= total;
        let reading = events(self.serving.addr, query, variables, &mut all, enough);
        let reading = tokio::time::timeout(Duration::from_secs(120), reading);
        reading.await.expect("all is told").unwrap();
    }

    /// Judges what was told before it was over, and follows on from there.
    pub(super) async fn resumes(self, told: &[Value]) {
        let list = "query($first: Int, $after: String) { envelopes(first: $first, after: $after) { nodes { digest } pageInfo { hasNextPage endCursor } } }";
        let wanted: Vec<String> = self.indexed.all(list, 500).await[50..]
            .iter()
            .map(|node| node["digest"].as_str().unwrap().to_owned())
            .collect();
        let got = digests(told);
        assert!(got.len() < wanted.len(), "all {} were told to one who did not read", got.len());
        assert!(got == wanted[..got.len()], "{} told", got.len());
        let after = told.last().map_or(self.after, |edge| edge["cursor"].clone());
        let rest = follow(self.serving.addr, after, wanted.len() - got.len()).await;
        assert!(digests(&rest) == wanted[got.len()..], "{} and {}", got.len(), rest.len());
        self.serving.end().await;
    }
}
