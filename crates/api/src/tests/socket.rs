//! The client's end of a WebSocket: it says what it is told to, and hears what no client library tells.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::server::Serving;

/// How long something may take to be said. Longer than a key is good after it was taken back.
const PATIENCE: Duration = Duration::from_secs(60);

/// A socket, as far as a test needs one: text frames without extensions. It answers no pings.
pub(super) struct Socket(TcpStream);

/// What a server says.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    Text(Value),
    Close(u16, String),
}

impl Socket {
    /// Opens one; the status when it is not let in.
    pub(super) async fn open(serving: &Serving, headers: &str) -> Result<Socket, u16> {
        let stream = TcpStream::connect(serving.addr).await.unwrap();
        Socket::over(stream, serving, headers).await
    }

    /// The same, over a connection that is there.
    pub(super) async fn over(
        mut stream: TcpStream,
        serving: &Serving,
        headers: &str,
    ) -> Result<Socket, u16> {
        let head = format!(
            "GET /graphql HTTP/1.1\r\nhost: {}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: x3JJHMbDL1EzLkh9GBhXDw==\r\n\
             sec-websocket-protocol: graphql-transport-ws\r\n{headers}\r\n",
            serving.addr
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        let status: u16 = answer.split(' ').nth(1).unwrap().parse().unwrap();
        if status == 101 { Ok(Socket(stream)) } else { Err(status) }
    }

    pub(super) async fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let length = u16::try_from(text.len()).unwrap();
        // Masked with zeros: the bytes are the text's own.
        let mut frame = vec![0x81, 0xfe];
        frame.extend(length.to_be_bytes());
        frame.extend([0; 4]);
        frame.extend(text.as_bytes());
        self.0.write_all(&frame).await.unwrap();
    }

    pub(super) async fn hear(&mut self) -> Heard {
        let heard = async {
            loop {
                let kind = self.0.read_u8().await.unwrap() & 0x0f;
                let length = match self.0.read_u8().await.unwrap() {
                    126 => usize::from(self.0.read_u16().await.unwrap()),
                    127 => usize::try_from(self.0.read_u64().await.unwrap()).unwrap(),
                    short => usize::from(short),
                };
                let mut bytes = vec![0; length];
                self.0.read_exact(&mut bytes).await.unwrap();
                match kind {
                    1 => return Heard::Text(serde_json::from_slice(&bytes).unwrap()),
                    8 => {
                        let code = u16::from_be_bytes([bytes[0], bytes[1]]);
                        let reason = String::from_utf8(bytes[2..].to_vec()).unwrap();
                        return Heard::Close(code, reason);
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, heard).await.unwrap()
    }

    pub(super) async fn init(&mut self, payload: Value) -> Heard {
        self.send(&json!({ "type": "connection_init", "payload": payload })).await;
        self.hear().await
    }

    pub(super) async fn subscribe(&mut self, id: &str, query: &str) {
        let message = json!({ "id": id, "type": "subscribe", "payload": { "query": query } });
        self.send(&message).await;
    }

    /// The code of an operation's error.
    pub(super) async fn code(&mut self, id: &str, query: &str) -> String {
        self.subscribe(id, query).await;
        match self.hear().await {
            Heard::Text(message) if message["type"] == "error" => {
                message["payload"][0]["extensions"]["code"].as_str().unwrap().to_owned()
            }
            Heard::Text(message) if message["type"] == "next" => {
                // Its end follows.
                self.hear().await;
                "none".into()
            }
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn acknowledged() -> Heard {
    Heard::Text(json!({ "type": "connection_ack" }))
}
