//! Many subscribers over WebSockets while envelopes come in: who is told, and what it takes in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use store::{Projector, Store};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::http::Target;
use crate::{limits, machine};

const SUBSCRIPTION: &str =
    "subscription { envelopes { cursor node { timestamp kind topic { name } } } }";
/// How long what was appended may take to reach everybody.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of it.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Told {
    /// Sockets that followed the log.
    pub(super) subscribers: u64,
    /// Envelopes that were appended meanwhile.
    pub(super) appended: u64,
    /// How often one of them reached a subscriber.
    pub(super) delivered: u64,
    /// Seconds from the first append to the last delivery.
    pub(super) seconds: f64,
    /// The longest resident set that the server ever had, in MiB; the load before counts.
    pub(super) peak_mib: u64,
}

/// Opens the sockets, appends and projects, counts.
pub(super) async fn measure(
    target: &Target,
    server: u32,
    store: &Store,
    subscribers: u64,
    each_second: usize,
    seconds: usize,
) -> anyhow::Result<Told> {
    let delivered = Arc::new(AtomicU64::new(0));
    let (following, few) = (Arc::new(AtomicU64::new(0)), Arc::new(Semaphore::new(32)));
    let mut sockets = JoinSet::new();
    for _ in 0..subscribers {
        let (target, delivered) = (target.clone(), delivered.clone());
        let (following, few) = (following.clone(), few.clone());
        sockets.spawn(async move {
            let opening = few.acquire().await?;
            let mut socket = Socket::open(&target).await?;
            socket.subscribe().await?;
            drop(opening);
            following.fetch_add(1, Ordering::Relaxed);
            socket.count(&delivered).await
        });
    }
    let all = async {
        while following.load(Ordering::Relaxed) < subscribers {
            let ended = tokio::time::timeout(Duration::from_millis(50), sockets.join_next()).await;
            if let Ok(Some(ended)) = ended {
                ended??;
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(60), all).await.context("too slow to subscribe")??;
    // A subscription that was sent begins a moment later.
    tokio::time::sleep(Duration::from_secs(1)).await;

    let stop = CancellationToken::new();
    let projector = Projector::new(store.clone(), Arc::default(), Default::default());
    let projecting = tokio::spawn(projector.run(stop.clone()));
    let envelopes = limits::envelopes(each_second * seconds);
    let (began, mut appended) = (Instant::now(), 0);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / u32::try_from(each_second)?);
    for envelope in envelopes.into_iter().take(each_second * seconds) {
        ticks.tick().await;
        appended += store.append(&[limits::page([envelope])]).await?.fresh;
    }
    let (appended_at, wanted) = (Instant::now(), appended * subscribers);
    let mut last = (began.elapsed(), delivered.load(Ordering::Relaxed));
    while last.1 < wanted && appended_at.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(20)).await;
        last = (began.elapsed(), delivered.load(Ordering::Relaxed));
    }
    let peak_mib = machine::peak_mib(server).context("the server is gone")?;
    stop.cancel();
    projecting.await??;
    sockets.shutdown().await;
    Ok(Told { subscribers, appended, delivered: last.1, seconds: last.0.as_secs_f64(), peak_mib })
}

/// A client of `graphql-transport-ws`, just good enough to count.
struct Socket {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Socket {
    async fn open(target: &Target) -> anyhow::Result<Socket> {
        let mut stream = TcpStream::connect(&target.authority).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET {} HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             sec-websocket-protocol: graphql-transport-ws\r\n\r\n",
            target.path, target.authority
        );
        stream.write_all(request.as_bytes()).await?;
        let mut held = Vec::with_capacity(1024);
        let end = loop {
            ensure!(stream.read_buf(&mut held).await? > 0, "the server hung up");
            if let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        ensure!(held.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&held));
        held.drain(..end);
        Ok(Socket { stream, held })
    }

    async fn subscribe(&mut self) -> anyhow::Result<()> {
        self.send(1, br#"{"type":"connection_init"}"#).await?;
        let (_, said) = self.frame().await?;
        ensure!(contains(&said, b"connection_ack"), "{}", String::from_utf8_lossy(&said));
        let payload = serde_json::json!({
            "id": "1", "type": "subscribe", "payload": { "query": SUBSCRIPTION }
        });
        self.send(1, payload.to_string().as_bytes()).await
    }

    /// Counts what it is told until it is dropped.
    async fn count(&mut self, delivered: &AtomicU64) -> anyhow::Result<()> {
        loop {
            match self.frame().await? {
                (1, said) if contains(&said, br#""type":"next""#) => {
                    ensure!(!contains(&said, b"\"errors\""), "{}", String::from_utf8_lossy(&said));
                    delivered.fetch_add(1, Ordering::Relaxed);
                }
                (1, said) if contains(&said, br#""type":"ping""#) => {
                    self.send(1, br#"{"type":"pong"}"#).await?;
                }
                (9, said) => self.send(10, &said).await?,
                (_, said) => anyhow::bail!("unexpected: {}", String::from_utf8_lossy(&said)),
            }
        }
    }

    /// A frame of up to 64 KiB, whose mask changes nothing.
    async fn send(&mut self, kind: u8, payload: &[u8]) -> anyhow::Result<()> {
        let length = u16::try_from(payload.len())?.to_be_bytes();
        let mut frame = vec![0x80 | kind, 0x80 | 126, length[0], length[1], 0, 0, 0, 0];
        if payload.len() < 126 {
            frame = vec![0x80 | kind, 0x80 | length[1], 0, 0, 0, 0];
        }
        frame.extend_from_slice(payload);
        Ok(self.stream.write_all(&frame).await?)
    }

    async fn frame(&mut self) -> anyhow::Result<(u8, Vec<u8>)> {
        loop {
            if let Some((kind, begin, end)) = frame(&self.held) {
                let payload = self.held[begin..end].to_vec();
                self.held.drain(..end);
                return Ok((kind, payload));
            }
            ensure!(self.stream.read_buf(&mut self.held).await? > 0, "the server hung up");
        }
    }
}

/// The kind of the first frame and where its payload is, once all of it is there.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let kind = bytes.first()? & 15;
    let (begin, length) = match *bytes.get(1)? & 127 {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?).try_into().ok()?),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= begin + length).then_some((kind, begin, begin + length))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}
