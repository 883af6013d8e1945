//! Plays traffic over the node: first the captures, then what the generator makes.

mod capture;
mod pace;

use std::collections::VecDeque;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;
use wire::Envelope;

use crate::generate::Traffic;
use crate::node::Node;
use crate::options::{Error, Generator, Options};
use capture::load;
use pace::Pace;

/// What is to be played.
pub(crate) struct Player {
    node: Node,
    captured: Vec<Envelope>,
    rate: Option<u32>,
    generator: Option<(Generator, Traffic)>,
    wait_for_subscriber: bool,
}

impl Player {
    /// Loads what `options` names into the node's store and prepares to play it.
    pub(crate) fn prepare(node: Node, options: &Options) -> Result<Self, Error> {
        let rates = [options.rate, options.generate.as_ref().and_then(|g| g.rate)];
        if rates.contains(&Some(0)) {
            return Err(Error::ZeroRate);
        }
        let mut captured = Vec::new();
        for path in &options.captures {
            captured.extend(load(path)?);
        }
        if options.shift_times {
            capture::shift(&mut captured, now_ns());
        }
        for envelope in &captured {
            node.keep(envelope);
        }
        let generator = match options.generate.clone() {
            Some(generator) => {
                let free = generator.rate.is_none() && generator.limit.is_none();
                if free && !options.wait_for_subscriber {
                    return Err(Error::Unbounded);
                }
                let traffic = Traffic::new(generator.seed, generator.config.clone());
                Some((generator, traffic))
            }
            None => None,
        };
        Ok(Player {
            node,
            captured,
            rate: options.rate,
            generator,
            wait_for_subscriber: options.wait_for_subscriber,
        })
    }

    /// Plays to the end, or until a stop is requested; then `finished` is cancelled if it was the end.
    pub(crate) async fn play(self, stop: CancellationToken, finished: CancellationToken) {
        let played = async {
            if self.wait_for_subscriber {
                listener(&self.node).await;
            }
            replay(&self.node, self.captured, self.rate).await;
            if let Some((generator, traffic)) = self.generator {
                generate(&self.node, generator, traffic, self.wait_for_subscriber).await;
            }
            finished.cancel();
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = played => {}
        }
    }
}

/// Waits for a subscription to everything.
async fn listener(node: &Node) {
    // An error means that the hub is gone, and with it the reason to wait.
    let _ = node.hub().listeners().wait_for(|count| *count > 0).await;
}

async fn replay(node: &Node, captured: Vec<Envelope>, rate: Option<u32>) {
    let mut pace = Pace::new(rate);
    for envelope in &captured {
        pace.turn().await;
        give(node, envelope, rate).await;
    }
}

async fn generate(node: &Node, generator: Generator, mut traffic: Traffic, wait: bool) {
    let mut pace = Pace::new(generator.rate);
    let mut left = generator.limit.unwrap_or(u64::MAX);
    let mut kept = VecDeque::new();
    while left > 0 {
        // As fast as subscribers read is not at all while there is none.
        if wait && generator.rate.is_none() {
            listener(node).await;
        }
        for envelope in traffic.next(now_ns()) {
            if left == 0 {
                break;
            }
            left -= 1;
            pace.turn().await;
            let new = node.keep(&envelope);
            give(node, &envelope, generator.rate).await;
            if let Some(keep) = generator.keep
                && new
            {
                kept.push_back(envelope);
                if kept.len() > keep
                    && let Some(oldest) = kept.pop_front()
                {
                    node.forget(&oldest);
                }
            }
        }
    }
}

/// At a set rate the subscribers must keep up, as on a network; without one the player waits for
/// them.
async fn give(node: &Node, envelope: &Envelope, rate: Option<u32>) {
    if rate.is_some() {
        node.hub().relay(envelope);
    } else {
        for room in node.hub().offer(envelope) {
            room.fill().await;
        }
        // Subscribers with room never make the player wait, so it must yield to other tasks.
        tokio::task::coop::consume_budget().await;
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
