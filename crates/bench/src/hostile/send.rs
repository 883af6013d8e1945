//! Sends what is hostile to a server, and looks at what comes back and when.

use std::{io, net::SocketAddr, time::Duration};

use crate::hostile::inputs::{Conversation, Due, Request, tells_nothing};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    time::Instant,
};

use crate::socket::{CLOSE, Frame, PONG, Socket, TEXT, code};

/// How long anything may take before it counts as not answered.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a socket is held that only a deadline ends.
const HELD: Duration = Duration::from_millis(300);

/// What came back.
#[derive(Debug)]
pub struct Outcome {
    /// From the first byte sent to the last of the answer.
    pub took: Duration,
    /// What was said, or why nothing was.
    pub said: Result<Said, String>,
}

/// What a server says.
#[derive(Debug)]
pub enum Said {
    /// An answer: its status and its body.
    Answer(u16, Vec<u8>),
    /// A frame.
    Frame(Frame),
    /// Nothing, and nothing was waited for.
    Nothing,
}

/// Sends one request over a connection of its own.
pub async fn request(address: SocketAddr, request: &Request) -> Outcome {
    let mut took = Duration::ZERO;
    let asked = tokio::time::timeout(PATIENCE, exchange(address, request, &mut took)).await;
    let said = match asked {
        Ok(Ok((status, body))) => Ok(Said::Answer(status, body)),
        Ok(Err(error)) => Err(format!("no answer: {error}")),
        Err(_) => Err(format!("no answer within {PATIENCE:?}")),
    };
    Outcome { took, said }
}

async fn exchange(
    address: SocketAddr,
    request: &Request,
    took: &mut Duration,
) -> io::Result<(u16, Vec<u8>)> {
    let Request { method, path, headers, body, stalls, .. } = request;
    let length = match headers.contains("chunked") {
        true => String::new(),
        false => format!("content-length: {}\r\n", body.len() + usize::from(*stalls)),
    };
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}{length}\r\n"
    );
    let (reader, mut writer) = TcpStream::connect(address).await?.into_split();
    let began = Instant::now();
    let writing = async {
        // Whoever is refused may be cut off in the middle.
        if writer.write_all(head.as_bytes()).await.is_ok() {
            let _ = writer.write_all(body).await;
        }
        std::future::pending::<std::convert::Infallible>().await
    };
    let answer = tokio::select! {
        answer = answer(BufReader::new(reader)) => answer?,
        never = writing => match never {},
    };
    *took = began.elapsed();
    Ok(answer)
}

/// Status and body of an answer.
async fn answer(
    mut reader: BufReader<tokio::net::tcp::OwnedReadHalf>,
) -> io::Result<(u16, Vec<u8>)> {
    let (mut line, mut status, mut length) = (String::new(), None, None);
    loop {
        line.clear();
        if reader.read_line(&mut line).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end().to_ascii_lowercase();
        if text.is_empty() {
            break;
        } else if status.is_none() {
            status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        } else if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok();
        }
    }
    let mut body = Vec::new();
    match length {
        Some(length) => {
            body.resize(length, 0);
            reader.read_exact(&mut body).await?;
        }
        None => {
            reader.read_to_end(&mut body).await?;
        }
    }
    Ok((status.unwrap_or_default(), body))
}

/// Is this what is due to a request?
///
/// # Errors
/// What is wrong with it.
pub fn judge_answer(request: &Request, status: u16, body: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(body);
    let json: Value =
        serde_json::from_slice(body).map_err(|_| format!("{status} without JSON: {text}"))?;
    let wrong = |what: &str| Err(format!("{what}: {status} {:.300}", text));
    match &request.due {
        Due::Refused(statuses, code) | Due::Late(statuses, code) => {
            if !statuses.contains(&status) {
                return wrong("another status");
            }
            let told = json["errors"][0]["extensions"]["code"].as_str().unwrap_or_default();
            if told.is_empty() || !told.contains(code) {
                return wrong("another code");
            }
            // A field whose argument cannot be read is null, where it may be.
            let answered = match &json["data"] {
                serde_json::Value::Object(fields) => fields.values().any(|value| !value.is_null()),
                data => !data.is_null(),
            };
            if answered {
                return wrong("data");
            }
            tells_nothing(&request.body, body)
        }
        _ if status != 200 => wrong("no answer"),
        _ => Ok(()),
    }
}

/// Has one conversation over a socket of its own.
pub async fn conversation(address: SocketAddr, conversation: &Conversation) -> Outcome {
    let mut took = Duration::ZERO;
    let talk = talk(address, conversation, &mut took);
    let said = tokio::time::timeout(PATIENCE, talk).await;
    let said = said.unwrap_or_else(|_| Err(format!("nothing within {PATIENCE:?}")));
    Outcome { took, said }
}

async fn talk(
    address: SocketAddr,
    conversation: &Conversation,
    took: &mut Duration,
) -> Result<Said, String> {
    let Conversation { protocol, initialised, frames, due, .. } = conversation;
    let gone = |error: io::Error| format!("the connection is gone: {error}");
    let mut socket = Socket::open(address, "/graphql", *protocol).await.map_err(gone)?;
    if *initialised {
        socket.initialise().await.map_err(gone)?;
    }
    let began = Instant::now();
    if *due == Due::Patience {
        // Nothing is read, and nothing is waited for.
        let sending = async {
            for frame in frames {
                socket.send(frame).await?;
            }
            std::future::pending::<io::Result<()>>().await
        };
        return match tokio::time::timeout(HELD, sending).await {
            Ok(Err(error)) => Err(gone(error)),
            _ => Ok(Said::Nothing),
        };
    }
    let mut pongs = 0;
    let talked = socket.converse(frames, |frame| match due {
        Due::Error(_) => {
            frame.opcode == CLOSE
                || frame.opcode == TEXT
                    && frame.payload.windows(14).any(|w| w == b"\"type\":\"error\"")
        }
        Due::Answer => {
            pongs += usize::from(frame.opcode == PONG);
            frame.opcode == CLOSE || pongs == frames.len()
        }
        _ => frame.opcode == CLOSE,
    });
    let frame = talked.await.map_err(gone)?;
    *took = began.elapsed();
    Ok(Said::Frame(frame))
}

/// Is this what is due in a conversation?
///
/// # Errors
/// What is wrong with it.
pub fn judge_frame(conversation: &Conversation, frame: &Frame) -> Result<(), String> {
    let Conversation { frames, due, .. } = conversation;
    let said = String::from_utf8_lossy(&frame.payload).into_owned();
    match (due, code(frame)) {
        (Due::Closed(codes), Some(code)) if codes.contains(&code) => {}
        (Due::Answer, None) => {}
        (Due::Error(due), None) => {
            let message: Value = serde_json::from_str(&said).map_err(|_| said.clone())?;
            let told = message["payload"][0]["extensions"]["code"].as_str().unwrap_or_default();
            if told != *due {
                return Err(format!("another code: {said:.300}"));
            }
        }
        (_, code) => return Err(format!("it ends with {code:?}: {said:.300}")),
    }
    frames.iter().try_for_each(|sent| match due {
        Due::Answer => Ok(()),
        _ => tells_nothing(&sent.payload, &frame.payload),
    })
}
