//! Puts envelopes that were queried or imported into the queue, the same way as those of a stream.

use store::Store;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::Envelope;

use crate::error::Result;
use crate::pager::{PageOptions, Pager};
use crate::queue::publisher::Publisher;
use crate::worker::park;

/// Gathers the envelopes of one source into pages and publishes them.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    pub(crate) publisher: Publisher,
    pub(crate) store: Store,
    pub(crate) source: String,
    pub(crate) pages: PageOptions,
}

impl Feed {
    /// Publishes envelopes; returns the number of the last page, to wait for its confirm. An envelope that does not fit into
    /// any page is parked.
    pub(crate) async fn put(
        &self,
        envelopes: Vec<Envelope>,
        token: &CancellationToken,
    ) -> Result<u64> {
        let mut pager = Pager::new(&self.source, self.pages);
        let now = Instant::now();
        let mut last = 0;
        for envelope in envelopes {
            match pager.push(envelope.into(), now) {
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
