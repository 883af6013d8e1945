//! From rows to the bytes of answers.

use std::sync::Arc;

use bytes::Bytes;
use store::Position;

use super::wanted::{Item, Wanted};
use crate::{
    intake::Ready,
    schema::{Graph, Passing},
    types::log_cursor,
};

/// Rows of a page that is replayed, and rows that share their look-ups.
pub(crate) const PAGE: u32 = 100;
/// Bytes of messages that rows may have to share their look-ups, or a page.
const SHARED: usize = 8 << 20;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) position: Option<Position>,
    /// To resume behind it.
    pub(crate) cursor: Option<Arc<str>>,
    pub(crate) bytes: Bytes,
}

impl From<store::Error> for Passing {
    fn from(error: store::Error) -> Passing {
        tracing::warn!(%error, "a subscription waits for the database");
        Passing
    }
}

/// What rows say, in the words of one subscription. What they need of the database is asked for together.
pub(super) async fn tell(
    graph: &Graph,
    ready: &Ready,
    items: Vec<Item>,
    limit: usize,
) -> Result<Vec<Answer>, Passing> {
    let tag = graph.tag().await?;
    let mut told = Vec::with_capacity(items.len());
    let mut rest = items.into_iter().peekable();
    while rest.peek().is_some() {
        let (mut share, mut weight) = (Vec::new(), 0_usize);
        while let Some(item) = rest.next_if(|item| {
            share.is_empty() || (share.len() < 100 && weight + item.weight() <= SHARED)
        }) {
            weight += item.weight();
            share.push(item);
        }
        let positions: Vec<_> = share.iter().map(Item::position).collect();
        let answers = graph.tell(ready, share, limit).await?;
        told.extend(positions.into_iter().zip(answers).map(|(position, bytes)| {
            let cursor = position.and_then(|position| log_cursor(tag, position)).map(Arc::from);
            Answer { position, cursor, bytes: bytes.into() }
        }));
    }
    Ok(told)
}

/// The answers of a page of what is there already; and how far they speak for.
pub(super) async fn replay(
    graph: &Graph,
    ready: &Ready,
    wanted: &Wanted,
    after: Position,
    upto: Position,
    limit: usize,
) -> Result<(Vec<Answer>, Position), Passing> {
    let snapshot = graph.store().snapshot().await?;
    let read = wanted.read(&snapshot, after, upto, PAGE).await;
    // Given back before the rows are told: a page holds one connection at a time.
    if let Err(error) = snapshot.close().await {
        tracing::warn!(%error, "a connection broke after a page was read");
    }
    let (mut items, mut upto) = read?;
    let mut weight = 0;
    let fitting = items.iter().take_while(|item| {
        weight += item.weight();
        weight <= SHARED
    });
    let fitting = fitting.count().max(1);
    if fitting < items.len() {
        items.truncate(fitting);
        upto = items.last().and_then(Item::position).unwrap_or(upto);
    }
    Ok((tell(graph, ready, items, limit).await?, upto))
}
