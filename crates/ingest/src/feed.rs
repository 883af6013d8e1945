//! Envelopes that were asked for go the same way as those that come by themselves: pages, the publisher, the queue.

use store::Store;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::Envelope;

use crate::error::Result;
use crate::pager::{PageOptions, Pager};
use crate::queue::publisher::Publisher;
use crate::worker::park;

/// A way into the queue for one source.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) publisher: Publisher,
    pub(crate) store: Store,
    pub(crate) source: String,
    pub(crate) pages: PageOptions,
}

impl Feed {
    /// Sends envelopes off; tells the number to wait for. What no page can carry is parked.
    pub(crate) async fn put(
        &self,
        envelopes: Vec<Envelope>,
        token: &CancellationToken,
    ) -> Result<u64> {
        let mut pager = Pager::new(&self.source, self.pages);
        let now = Instant::now();
        let mut last = 0;
        for envelope in envelopes {
            match pager.push(envelope, now) {
                Ok(None) => {}
                Ok(Some(page)) => last = self.publisher.send_page(page).await?,
                Err(large) => {
                    park(&self.store, &self.source, &large.0, &large.reason(), token).await?;
                }
            }
        }
        if let Some(page) = pager.take() {
            last = self.publisher.send_page(page).await?;
        }
        Ok(last)
    }
}
