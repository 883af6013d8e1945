//! One reader of a subscription, from its cursor to the present and on.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::{Value, json};
use store::Position;
use tokio::sync::mpsc;

use super::{
    group::{Group, Told},
    hub::Hub,
    ring::{Heard, Listener},
    telling::Answer,
    wanted::{Opened, Wanted},
};
use crate::{intake::Ready, schema::Graph, types::log_cursor};

/// How long a reader waits for the database before it is sent away with its cursor.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a subscription's connection is given.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An answer, and the cursor to resume behind it.
    Answer { bytes: Bytes, cursor: Option<Arc<str>> },
    /// It is over, for a reason that the errors tell.
    Ended { errors: Value, slow: bool },
}

/// Why a subscription ends before its reader wants it to.
enum End {
    /// The reader is gone.
    Gone,
    /// The reader is too slow.
    Slow,
    /// The database is away for too long.
    Unavailable,
    /// The cursor is of another log.
    Foreign,
}

struct Reader {
    hub: Arc<Hub>,
    graph: Graph,
    ready: Ready,
    group: Arc<Group>,
    to: mpsc::Sender<Event>,
    /// Everything up to here was told.
    at: Position,
}

/// Follows until the receiver is gone or something ends it.
pub(crate) async fn follow(
    hub: Arc<Hub>,
    graph: Graph,
    ready: Ready,
    opened: Opened,
    to: mpsc::Sender<Event>,
) {
    // First into the group, then a look at the head: what comes in between is told by the group.
    let group = hub.join(&graph, &ready, &opened.wanted);
    let told = group.listen();
    let at = opened.after.unwrap_or(Position(0));
    let mut reader = Reader { hub, graph, ready, group, to, at };
    let end = match reader.group.wanted {
        Wanted::Status => reader.pulse(told).await,
        _ => reader.run(told, opened.after).await,
    };
    let (code, message, slow) = match end {
        End::Gone => return,
        End::Slow => ("SLOW_READER", "this reader is too slow: resume behind the cursor", true),
        End::Unavailable => {
            ("UNAVAILABLE", "the database is away or busy: resume behind the cursor", false)
        }
        End::Foreign => (
            "BAD_CURSOR",
            "this cursor is beyond the end of this index: begin again without it",
            false,
        ),
    };
    let tag = reader.graph.known_tag().filter(|_| code != "BAD_CURSOR");
    let cursor = tag.and_then(|tag| log_cursor(tag, reader.at));
    let errors = json!([{ "message": message, "extensions": { "code": code, "cursor": cursor } }]);
    metrics::counter!("xmtp_indexer_subscriptions_cut_total", "reason" => code).increment(1);
    // Who does not read will not read this; the connection's own deadline deals with that.
    let _ = reader.to.send(Event::Ended { errors, slow }).await;
}

impl Reader {
    async fn pulse(&mut self, mut told: Listener<Told>) -> End {
        loop {
            let heard = tokio::select! {
                heard = told.next() => heard,
                () = self.to.closed() => return End::Gone,
            };
            // A pulse that was missed says nothing that the next does not.
            let Heard::Next(told) = heard else { continue };
            for answer in &told.answers {
                if self.send(answer).await.is_err() {
                    return End::Gone;
                }
            }
        }
    }

    async fn run(&mut self, mut told: Listener<Told>, after: Option<Position>) -> End {
        let store = self.graph.store().clone();
        let Some((heads, there)) = self.ask(async || store.followed().await).await else {
            return End::Unavailable;
        };
        match after {
            Some(after) if after > heads.log => return End::Foreign,
            Some(_) => {}
            // What is served by now is past, also where the table still lacks it.
            None => self.at = heads.served,
        }
        if let Err(end) = self.replay(self.group.wanted.of(&there)).await {
            return end;
        }
        let mut live = false;
        loop {
            let heard = tokio::select! {
                heard = told.next() => heard,
                () = self.to.closed() => return End::Gone,
            };
            match heard {
                // While the past was replayed, the present went by: it is replayed, too.
                Heard::Missed if !live => {}
                Heard::Missed => return End::Slow,
                Heard::Next(told) => {
                    // A gap: replayed. Later ones of the group may then be known already.
                    if told.from > self.at
                        && let Err(end) = self.replay(told.from).await
                    {
                        return end;
                    }
                    if let Err(end) = self.pass(&told).await {
                        return end;
                    }
                    live = true;
                }
            }
        }
    }

    async fn pass(&mut self, told: &Told) -> Result<(), End> {
        if told.upto <= self.at {
            return Ok(());
        }
        for answer in &told.answers {
            if answer.position.is_some_and(|position| position > self.at) {
                self.send(answer).await?;
            }
        }
        self.at = told.upto;
        Ok(())
    }

    /// Tells what is in the database, up to a position or beyond.
    async fn replay(&mut self, upto: Position) -> Result<(), End> {
        let (mut waited, mut pause) = (Duration::ZERO, Duration::from_millis(100));
        while self.at < upto {
            let past = &self.hub.past;
            match past.page(&self.graph, &self.ready, &self.group, self.at).await {
                Ok(told) => {
                    self.pass(&told).await?;
                    (waited, pause) = (Duration::ZERO, Duration::from_millis(100));
                    // Others have something to say, too.
                    tokio::task::yield_now().await;
                }
                // The database is away, or the table does not reach there yet.
                _ if waited >= PATIENCE => return Err(End::Unavailable),
                _ => {
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = self.to.closed() => return Err(End::Gone),
                    }
                    waited += pause;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
            }
        }
        Ok(())
    }

    /// Asks the database, again and again when it is away, for as long as there is somebody to wait.
    async fn ask<T>(&self, ask: impl AsyncFn() -> store::Result<T>) -> Option<T> {
        let mut waited = Duration::ZERO;
        let pause = Duration::from_millis(500);
        loop {
            match ask().await {
                Ok(found) => return Some(found),
                Err(_) if waited < PATIENCE && !self.to.is_closed() => {
                    tokio::time::sleep(pause).await;
                    waited += pause;
                }
                Err(_) => return None,
            }
        }
    }

    async fn send(&mut self, answer: &Answer) -> Result<(), End> {
        let event = Event::Answer { bytes: answer.bytes.clone(), cursor: answer.cursor.clone() };
        self.to.send(event).await.map_err(|_| End::Gone)?;
        if let Some(position) = answer.position {
            self.at = position;
        }
        Ok(())
    }
}
