//! A server on a free port, and a client that sends whatever it is told to.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::fixture::{Indexed, queue};
use crate::{Exposure, Options, Server, tail::Hub};

pub(super) struct Serving {
    pub(super) addr: SocketAddr,
    pub(super) hub: Arc<Hub>,
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

pub(super) struct Got {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) bytes: Vec<u8>,
}

impl Got {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(super) fn code(&self) -> String {
        self.json()["errors"][0]["extensions"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl Serving {
    pub(super) fn begin(indexed: &Indexed, exposure: Exposure) -> Serving {
        Serving::at(indexed, exposure, ([127, 0, 0, 1], 0).into())
    }

    pub(super) fn at(indexed: &Indexed, exposure: Exposure, listen: SocketAddr) -> Serving {
        let options = Options {
            listen,
            store: indexed.connect(),
            network: "test".into(),
            queue: queue(),
            metrics: None,
            health: None,
            queue_fault: Arc::new(|| None),
            max_lag: 1_000,
            workers: 2,
        };
        let server = Server::bind_with(options, exposure).unwrap();
        let (addr, hub, stop) = (server.addr(), server.hub(), CancellationToken::new());
        let task = tokio::spawn(server.run(stop.clone()));
        Serving { addr, hub, stop, task }
    }

    pub(super) async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(15), self.task).await.unwrap().unwrap().unwrap();
    }

    /// Sends bytes, and reads until the server closes.
    pub(super) async fn raw(&self, head: &str, body: &[u8]) -> Got {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        // A refused body may be cut off in the middle.
        let _ = stream.write_all(head.as_bytes()).await;
        let _ = tokio::time::timeout(Duration::from_secs(12), stream.write_all(body)).await;
        let mut answer = Vec::new();
        let closed =
            tokio::time::timeout(Duration::from_secs(12), stream.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "still open after {}", String::from_utf8_lossy(&answer));
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.unwrap_or_else(|| panic!("no answer: {}", String::from_utf8_lossy(&answer)));
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Got { status, head, bytes: answer[end + 4..].to_vec() }
    }

    pub(super) async fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Got {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n",
            self.addr
        );
        self.raw(&head, body).await
    }

    pub(super) async fn post(&self, body: &Value) -> Got {
        self.post_with("", body).await
    }

    pub(super) async fn post_with(&self, headers: &str, body: &Value) -> Got {
        let headers = format!("content-type: application/json\r\n{headers}");
        self.send("POST", "/graphql", &headers, body.to_string().as_bytes()).await
    }
}
