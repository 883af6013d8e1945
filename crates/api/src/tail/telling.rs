//! From rows to the bytes of answers.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use store::Position;

use super::wanted::{Item, Turn, Wanted};
use crate::{
    error::Code,
    intake::Ready,
    schema::Graph,
    scope::{Asked, Scope},
    transport::reply::{self, Outcome},
};

/// Rows of a page that is replayed, and rows that share their look-ups.
pub(crate) const PAGE: u32 = 100;
/// Bytes of messages that rows may have to share their look-ups.
const SHARED: usize = 8 << 20;

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) position: Option<Position>,
    pub(crate) bytes: Bytes,
}

/// The database was away, or a table is being rebuilt: the answers would lack what a later try has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TryAgain;

impl From<store::Error> for TryAgain {
    fn from(error: store::Error) -> TryAgain {
        tracing::warn!(%error, "a subscription waits for the database");
        TryAgain
    }
}

impl Graph {
    /// What rows say, in the words of one subscription. They are looked at side by side, so that what they need of the
    /// database is asked for together.
    pub(crate) async fn tell(
        &self,
        ready: &Ready,
        items: Vec<Item>,
        limit: usize,
    ) -> Result<Vec<Answer>, TryAgain> {
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
            let scope = self.scope();
            let answers = self.tell_together(&scope, ready, share, limit).await;
            Graph::close(scope).await;
            told.extend(answers?);
        }
        Ok(told)
    }

    async fn tell_together(
        &self,
        scope: &Arc<Scope>,
        ready: &Ready,
        items: Vec<Item>,
        limit: usize,
    ) -> Result<Vec<Answer>, TryAgain> {
        let asked = Asked::new(scope.clone());
        let answers = items.into_iter().map(|item| {
            let position = item.position();
            let request = ready.request().data(asked.clone()).data(Turn::Telling(item));
            async move { (position, self.first(request).await) }
        });
        let mut told = Vec::new();
        for (position, response) in join_all(answers).await {
            let Some(mut response) = response else { continue };
            if response.errors.iter().any(is_passing) {
                return Err(TryAgain);
            }
            let outcome = match Outcome::of(&response) {
                // It was valid when it was opened.
                Outcome::Invalid => Outcome::Partial,
                outcome => outcome,
            };
            reply::present(&mut response, outcome);
            let bytes = match reply::write(&response, outcome, limit) {
                Ok(bytes) => bytes,
                Err(refusal) => serde_json::json!({ "data": null, "errors": [refusal.to_json()] })
                    .to_string()
                    .into(),
            };
            told.push(Answer { position, bytes: bytes.into() });
        }
        Ok(told)
    }

    /// The answers of a page of what is there already; and how far they speak for.
    pub(crate) async fn replay(
        &self,
        ready: &Ready,
        wanted: &Wanted,
        after: Position,
        upto: Position,
        limit: usize,
    ) -> Result<(Vec<Answer>, Position), TryAgain> {
        let snapshot = self.store().snapshot().await?;
        let read = wanted.read(&snapshot, after, upto, PAGE).await;
        // Given back before the rows are told: a page holds one connection at a time.
        if let Err(error) = snapshot.close().await {
            tracing::warn!(%error, "a connection broke after a page was read");
        }
        let (items, upto) = read?;
        Ok((self.tell(ready, items, limit).await?, upto))
    }
}

/// Is this a failure that passes?
fn is_passing(error: &async_graphql::ServerError) -> bool {
    let code = error.extensions.as_ref().and_then(|extensions| extensions.get("code"));
    matches!(code, Some(async_graphql::Value::String(code))
        if [Code::Unavailable, Code::Rebuilding, Code::Internal].iter().any(|known| known.as_str() == code))
}
