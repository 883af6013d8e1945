//! The client's end of a WebSocket: no more than frames, so that it can also send what no decent client would.

use std::{io, net::SocketAddr, time::Duration};

pub use crate::hostile::inputs::Frame;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// What a frame of text has for an opcode.
pub const TEXT: u8 = 1;
/// The last frame: a code and a reason.
pub const CLOSE: u8 = 8;
/// A question whether somebody is there.
pub const PING: u8 = 9;
/// The answer to it.
pub const PONG: u8 = 10;

/// Bytes of a frame or a head that is read, at most.
const LARGEST: u64 = 64 << 20;
/// How long a connection may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// The code of a close frame.
#[must_use]
pub fn code(frame: &Frame) -> Option<u16> {
    match (frame.opcode, frame.payload.as_slice()) {
        (CLOSE, [high, low, ..]) => Some(u16::from_be_bytes([*high, *low])),
        _ => None,
    }
}

/// A frame as a client sends it. Its mask is all zeros: this guards nobody's proxy, and costs nothing.
fn bytes(frame: &Frame) -> Vec<u8> {
    let mut bytes = vec![u8::from(frame.fin) << 7 | frame.opcode];
    let length = frame.payload.len();
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.push(0x80 | short),
        (_, Ok(medium)) => {
            bytes.push(0x80 | 126);
            bytes.extend(medium.to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend_from_slice(&frame.payload);
    bytes
}

/// An open socket.
#[derive(Debug)]
pub struct Socket {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Socket {
    /// Opens one, with the subprotocol that is asked for, if any.
    ///
    /// # Errors
    /// There is nobody, or they refuse: then the answer's first line is in the error.
    pub async fn open(
        address: SocketAddr,
        path: &str,
        protocol: Option<&str>,
    ) -> io::Result<Socket> {
        tokio::time::timeout(PATIENCE, Socket::shake_hands(address, path, protocol)).await?
    }

    async fn shake_hands(
        address: SocketAddr,
        path: &str,
        protocol: Option<&str>,
    ) -> io::Result<Socket> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, mut writer) = stream.into_split();
        let mut reader = BufReader::new(reader);
        let protocol =
            protocol.map(|name| format!("sec-websocket-protocol: {name}\r\n")).unwrap_or_default();
        let asked = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{protocol}\r\n"
        );
        writer.write_all(asked.as_bytes()).await?;
        let mut first = String::new();
        (&mut reader).take(LARGEST).read_line(&mut first).await?;
        if !first.starts_with("HTTP/1.1 101 ") {
            return Err(io::Error::other(format!("no WebSocket: {}", first.trim())));
        }
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if (&mut reader).take(LARGEST).read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Socket { reader, writer })
    }

    /// Begins to speak `graphql-transport-ws`.
    ///
    /// # Errors
    /// The connection is gone, or something else is said than the acknowledgement.
    pub async fn initialise(&mut self) -> io::Result<()> {
        self.send(&Frame::text(r#"{"type":"connection_init"}"#)).await?;
        let text = self.text().await?;
        match text.windows(14).any(|window| window == b"connection_ack") {
            true => Ok(()),
            false => Err(io::Error::other("no acknowledgement")),
        }
    }

    /// Sends a frame.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.writer.write_all(&bytes(frame)).await
    }

    /// The next frame that the server sends. Who stops waiting for it can only drop the socket.
    ///
    /// # Errors
    /// The connection is gone, or the frame is larger than anything that a server sends.
    pub async fn next(&mut self) -> io::Result<Frame> {
        read(&mut self.reader).await
    }

    /// Sends frames while it reads; gives the first frame that is looked for. A server that does not take the rest, or
    /// closes in between, is no error.
    ///
    /// # Errors
    /// The connection is gone before that.
    pub async fn converse(
        &mut self,
        frames: &[Frame],
        mut found: impl FnMut(&Frame) -> bool,
    ) -> io::Result<Frame> {
        let Socket { reader, writer } = self;
        let writing = async {
            for frame in frames {
                if writer.write_all(&bytes(frame)).await.is_err() {
                    break;
                }
            }
            std::future::pending::<std::convert::Infallible>().await
        };
        let reading = async {
            loop {
                let frame = read(reader).await?;
                if found(&frame) {
                    return Ok(frame);
                }
            }
        };
        tokio::select! {
            frame = reading => frame,
            never = writing => match never {},
        }
    }

    /// The next message of text; pings are answered. The code of a close frame ends it as an error.
    ///
    /// # Errors
    /// The connection is gone, or was closed.
    pub async fn text(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let frame = self.next().await?;
            match frame.opcode {
                TEXT => return Ok(frame.payload),
                PING => self.send(&Frame { opcode: PONG, ..frame }).await?,
                CLOSE => {
                    let code = code(&frame).unwrap_or_default();
                    return Err(io::Error::other(format!("closed with {code}")));
                }
                _ => {}
            }
        }
    }
}

async fn read(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Frame> {
    let first = reader.read_u8().await?;
    let length = match reader.read_u8().await? & 0x7f {
        126 => u64::from(reader.read_u16().await?),
        127 => reader.read_u64().await?,
        short => u64::from(short),
    };
    if length > LARGEST {
        return Err(io::Error::other(format!("a frame of {length} bytes")));
    }
    let mut payload = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    reader.read_exact(&mut payload).await?;
    Ok(Frame { fin: first & 0x80 != 0, opcode: first & 0x0f, payload })
}
