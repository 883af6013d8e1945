//! What is sent to servers of GraphQL to hurt them, as data: each is to be refused at once, at little cost, and without
//! being repeated. The tests send it to see that it is refused, and the benchmark `hostile` to see what that costs.

use std::collections::HashMap;

mod documents;
mod requests;
mod sockets;

pub use documents::{Document, documents};
pub use requests::{Request, requests};
pub use sockets::{Conversation, Frame, conversations};

/// What must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// A refusal, with one of these statuses of HTTP and this code.
    Refused(&'static [u16], &'static str),
    /// A refusal as soon as a deadline has passed: nothing is wrong before.
    Late(&'static [u16], &'static str),
    /// The end of the socket, with one of these codes.
    Closed(&'static [u16]),
    /// The end of the socket when a deadline has passed, or never while it does not matter.
    Patience,
    /// An error for one operation, with this code; the socket stays.
    Error(&'static str),
    /// An answer: it looks odd, and is fine.
    Answer,
}

/// Texts that no refusal may have in it: they would tell of the inside.
pub const INTERNALS: [&str; 10] = [
    "panicked",
    ".rs:",
    "/src/",
    "select ",
    "postgres",
    "stack",
    "async_graphql",
    "async-graphql",
    "actix",
    "tokio",
];

/// Bytes of a request that a refusal may repeat by chance.
pub const ECHO: usize = 40;

/// What an answer must not have in it: a word about the inside, or a longer piece of what was sent.
///
/// # Errors
/// A sentence that says what was found.
pub fn tells_nothing(sent: &[u8], answer: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(answer).to_lowercase();
    if let Some(inside) = INTERNALS.iter().find(|inside| text.contains(**inside)) {
        return Err(format!("it says `{inside}`"));
    }
    // A piece of that length has a whole block of half of it in it, wherever it begins.
    let mut known: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (at, window) in answer.windows(ECHO / 2).enumerate() {
        known.entry(window).or_default().push(at);
    }
    for (block, begin) in sent.chunks_exact(ECHO / 2).zip((0..).step_by(ECHO / 2)) {
        for &at in known.get(block).into_iter().flatten() {
            let behind = sent[begin..].iter().zip(&answer[at..]).take_while(|(a, b)| a == b);
            let before = sent[..begin].iter().rev().zip(answer[..at].iter().rev());
            let before = before.take_while(|(a, b)| a == b).count();
            let length = before + behind.count();
            if length >= ECHO {
                let piece = &answer[at - before..at - before + length];
                return Err(format!("it repeats `{}`", String::from_utf8_lossy(piece)));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_is_heard_wherever_it_is() {
        let sent: Vec<u8> = (0..=255).collect();
        for begin in 128..200 {
            let heard = |length: usize| {
                tells_nothing(&sent, &[b"-", &sent[begin..begin + length], b"-"].concat())
            };
            assert!(heard(ECHO).is_err() && heard(ECHO - 1).is_ok(), "{begin}");
        }
        assert!(tells_nothing(b"", b"thread panicked at").is_err());
    }
}
