//! HTTP/1.1 over a socket that is kept: what asks must cost little, since it shares the machine with what answers.

use anyhow::{Context as _, bail, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Where to ask, from `http://host:port/path`.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Host and port.
    pub(super) authority: String,
    /// The path.
    pub(super) path: String,
}

impl Target {
    pub(super) fn parse(url: &str) -> anyhow::Result<Target> {
        let rest = url.strip_prefix("http://").with_context(|| format!("{url} is not http"))?;
        let (authority, path) = rest.split_once('/').context("no path")?;
        Ok(Target { authority: authority.to_owned(), path: format!("/{path}") })
    }
}

/// One connection, one request at a time.
pub(super) struct Connection {
    stream: TcpStream,
    head: String,
    request: Vec<u8>,
    answer: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(target: &Target) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(&target.authority).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\naccept: application/json\r\n",
            target.path, target.authority
        );
        Ok(Connection { stream, head, request: Vec::new(), answer: Vec::new() })
    }

    /// Sends a body, gives the body of the answer. Every answer must be a 200 without errors.
    pub(super) async fn ask(&mut self, body: &str) -> anyhow::Result<&str> {
        self.request.clear();
        self.request.extend_from_slice(self.head.as_bytes());
        self.request
            .extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        self.request.extend_from_slice(body.as_bytes());
        self.stream.write_all(&self.request).await?;
        self.answer.clear();
        let (body_at, end) = loop {
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the server hung up");
            if let Some(found) = body_at(&self.answer)? {
                break found;
            }
        };
        while self.answer.len() < end {
            ensure!(self.stream.read_buf(&mut self.answer).await? > 0, "the server hung up");
        }
        let body = std::str::from_utf8(self.answer.get(body_at..end).context("no body")?)?;
        if !self.answer.starts_with(b"HTTP/1.1 200") || body.contains("\"errors\"") {
            bail!("refused: {}", String::from_utf8_lossy(&self.answer));
        }
        Ok(body)
    }
}

/// Where the body begins and ends, once all headers are there.
fn body_at(answer: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let Some(headers) = answer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&answer[..headers])?;
    let length: usize = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
        .context("an answer without content-length")?;
    Ok(Some((headers + 4, headers + 4 + length)))
}
