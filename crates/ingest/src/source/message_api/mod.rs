//! Nodes of V1 and V2, which relay V3 messages and welcomes, too: `xmtp.message_api.v1.MessageApi`.
//!
//! A node relays everything on one stream without memory, and answers queries about named topics. So a source is followed
//! by its stream ([`tail`]); after each interruption all known topics are queried for everything since the stream was last
//! whole ([`sweep`], [`coverage`]); topics that become known are read back to their beginning; and a stream that is silent is
//! compared with what the node stores ([`watchdog`]).

pub mod coverage;
pub mod crawl;
pub mod node;
pub mod progress;

mod ask;
mod edges;
mod reader;
mod sweep;
mod tail;
mod watchdog;

use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use store::Progress;
use tokio_util::sync::CancellationToken;

use super::{Reader, Source, SourceKind, Tools};
use crate::error::{Error, Result};
use ask::Nodes;

/// This kind of node.
pub struct MessageApi;

/// How a source of this kind is read: `[sources.options]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// How far before a gap its sweep begins: senders set their own times, and some clocks are behind.
    #[serde(rename = "sweep_overlap_seconds", with = "crate::seconds")]
    pub overlap: Duration,
    /// How often topics that became known are read back to their beginning. More than a minute lets the node's budget
    /// refill.
    #[serde(rename = "read_back_seconds", with = "crate::seconds")]
    pub read_back_every: Duration,
    /// A stream that was silent for so long is compared with what the node stores.
    #[serde(rename = "silence_seconds", with = "crate::seconds")]
    pub silence: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            overlap: Duration::from_secs(600),
            read_back_every: Duration::from_secs(65),
            silence: Duration::from_secs(65),
        }
    }
}

impl SourceKind for MessageApi {
    fn name(&self) -> &'static str {
        "message-api"
    }

    fn reader(&self, source: &Source) -> Result<Box<dyn Reader>> {
        let options: Options =
            source.options.clone().try_into().map_err(|error: toml::de::Error| Error::Options {
                name: source.name.clone(),
                why: error.message().to_owned(),
            })?;
        Ok(Box::new(MessageApiReader { nodes: Nodes::at(&source.urls)?, options }))
    }

    fn rewound_to(&self, time_ns: u64) -> Vec<Progress> {
        let upto = |shard: &str, upto| Progress { shard: shard.to_owned(), upto };
        let time = i64::try_from(time_ns).unwrap_or(i64::MAX);
        let mut progress = vec![upto(progress::WHOLE_UNTIL, time)];
        // From the beginning means that topics are read back again, too.
        progress.extend((time_ns == 0).then(|| upto(progress::READ_BACK_TO, 0)));
        progress
    }
}

struct MessageApiReader {
    nodes: Nodes,
    options: Options,
}

impl Reader for MessageApiReader {
    fn read(
        self: Box<Self>,
        tools: Tools,
        stop: CancellationToken,
    ) -> BoxFuture<'static, Result<()>> {
        Box::pin(reader::read(self.nodes, self.options, tools, stop))
    }
}

#[cfg(test)]
mod tests;
