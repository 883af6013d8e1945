//! A port that leads to a real service, from when a test wants it to.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// Leads to a service until it is dropped.
pub(crate) struct Forwarder {
    silent: Arc<AtomicBool>,
    _accepting: AbortOnDropHandle<()>,
}

impl Forwarder {
    /// Listens on the port. With a limit, a connection on which the client has sent more bytes falls silent: the service sees
    /// and answers nothing more, and nothing is closed.
    pub(crate) fn start(port: u16, url: &str, limit: Option<usize>) -> Forwarder {
        let (_, after) = url.rsplit_once('@').unwrap();
        let service = after.split_once('/').unwrap().0.to_owned();
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        let told = silent.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = Vec::new();
            while let Ok((client, _)) = listener.accept().await {
                let (service, told) = (service.clone(), told.clone());
                connections.push(AbortOnDropHandle::new(tokio::spawn(async move {
                    let server = TcpStream::connect(service).await.unwrap();
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    let silence = CancellationToken::new();
                    tokio::select! {
                        () = copy(from_client, to_server, limit, &silence, &told) => {}
                        () = copy(from_server, to_client, None, &silence, &told) => {}
                    }
                })));
            }
        });
        Forwarder { silent, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// Whether a connection has fallen silent.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }
}

/// Copies until the end, or for ever in silence once the limit is passed.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    limit: Option<usize>,
    silence: &CancellationToken,
    told: &AtomicBool,
) {
    let (mut buffer, mut sent) = (vec![0; 4_096], 0);
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            () = silence.cancelled() => std::future::pending().await,
        };
        sent += read;
        if limit.is_some_and(|limit| sent > limit) {
            silence.cancel();
            told.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        if read == 0 || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
