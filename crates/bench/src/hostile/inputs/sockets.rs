//! Frames over WebSockets.

use serde_json::json;

use super::{Due, documents};

/// One frame of a WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Is it the last of its message?
    pub fin: bool,
    /// 1 is text, 2 bytes, 0 goes on with the message; 8 closes, 9 asks, 10 answers; others are reserved.
    pub opcode: u8,
    /// What it holds, unmasked.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A message of text.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Frame {
        Frame { fin: true, opcode: 1, payload: text.into().into_bytes() }
    }
}

/// What is said over one socket.
#[derive(Clone, Debug)]
pub struct Conversation {
    /// What it is called in reports.
    pub name: &'static str,
    /// The subprotocol that is asked for.
    pub protocol: Option<&'static str>,
    /// Is the socket initialised, and that acknowledged, before the first frame?
    pub initialised: bool,
    /// What is sent, one behind the other.
    pub frames: Vec<Frame>,
    /// What must come back.
    pub due: Due,
}

fn subscribe(id: &str, query: &str) -> Frame {
    let payload = json!({ "query": query });
    Frame::text(json!({ "id": id, "type": "subscribe", "payload": payload }).to_string())
}

/// All of them.
#[must_use]
pub fn conversations() -> Vec<Conversation> {
    let spoken = Some("graphql-transport-ws");
    let open = |name, frames: Vec<Frame>, due| Conversation {
        name,
        protocol: spoken,
        initialised: true,
        frames,
        due,
    };
    let closed = |name, frames, codes| open(name, frames, Due::Closed(codes));
    let init = || Frame::text(r#"{"type":"connection_init"}"#);
    let status = |id: &str| subscribe(id, "subscription { status { head } }");
    let frame = |fin, opcode, payload: Vec<u8>| Frame { fin, opcode, payload };
    let ping = || json!({ "type": "ping", "payload": { "a": "x".repeat(66_000) } }).to_string();
    let fresh = |name, frames, due| Conversation { initialised: false, ..open(name, frames, due) };
    let mut all = vec![
        fresh("no initialisation", vec![], Due::Patience),
        fresh("an operation before it", vec![status("1")], Due::Closed(&[4401])),
        Conversation { protocol: None, ..fresh("no subprotocol", vec![], Due::Closed(&[4406])) },
        Conversation {
            protocol: Some("graphql-ws"),
            ..fresh("another subprotocol", vec![], Due::Closed(&[4406]))
        },
        closed("a second initialisation", vec![init()], &[4429]),
        closed("the same id twice", vec![status("1"), status("1")], &[4409]),
        closed("bad JSON", vec![Frame::text("{")], &[4400]),
        closed("a number", vec![Frame::text("1")], &[4400]),
        closed(
            "an unknown type",
            vec![Frame::text(json!({ "type": "zz".repeat(2_500) }).to_string())],
            &[4400],
        ),
        closed("bytes", vec![frame(true, 2, vec![1, 2, 3])], &[4400]),
        closed("a frame of 5 MB", vec![frame(true, 1, vec![b' '; 5 << 20])], &[4400]),
        closed("a ping of 65 kB", vec![Frame::text(ping())], &[4400]),
        closed("a control frame of 65 kB", vec![frame(true, 9, vec![b'x'; 66_000])], &[4400, 1002]),
        closed("not UTF-8", vec![frame(true, 1, vec![b'"', 0xff, 0xfe])], &[4400, 1007]),
        closed("a reserved opcode", vec![frame(true, 3, vec![0; 40])], &[4400, 1002]),
        closed("the end of nothing", vec![frame(true, 0, vec![b'x'; 40])], &[4400, 1002]),
        closed(
            "pieces without end",
            std::iter::once(frame(false, 1, vec![b' '; 8_000]))
                .chain(vec![frame(false, 0, vec![b' '; 8_000]); 20])
                .collect(),
            &[4400],
        ),
        open("a message that never ends", vec![frame(false, 1, vec![b'{'; 8_000])], Due::Patience),
        open("a flood of pings", vec![frame(true, 9, vec![b'x'; 125]); 2_000], Due::Answer),
        open(
            "a thousand operations",
            (0..1_000).map(|n| status(&n.to_string())).collect(),
            Due::Error("TOO_MANY_OPERATIONS"),
        ),
        open(
            "nobody reads",
            (0..20)
                .map(|n| {
                    subscribe(&n.to_string(), "{ envelopes(first: 500) { nodes { message } } }")
                })
                .collect(),
            Due::Patience,
        ),
    ];
    // The documents that fit into a frame, once more.
    all.extend(documents().into_iter().filter_map(|document| {
        let frame = subscribe("1", &document.text);
        let code = document.code.filter(|_| frame.payload.len() < 60 << 10)?;
        Some(open(document.name, vec![frame], Due::Error(code)))
    }));
    all
}
