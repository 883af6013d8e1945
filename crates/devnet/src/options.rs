//! What a devnet is started with, and why it may refuse.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::generate::Config;

/// What a devnet serves, and where.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the gRPC API listens. Port 0 takes a free one.
    pub grpc: SocketAddr,
    /// Where the HTTP/JSON gateway listens, if there is to be one. Port 0 takes a free one.
    pub http: Option<SocketAddr>,
    /// Captured traffic: newline-delimited JSON in the gateway's form, plain or gzipped. All of it
    /// is in the store when `start` returns, and is then played over the streams in this order.
    pub captures: Vec<PathBuf>,
    /// How many captured envelopes to play a second. `None`: as fast as the subscribers read. At a
    /// set rate a subscriber that cannot keep up is disconnected, as a node does.
    pub rate: Option<u32>,
    /// Moves the captured envelopes in time so that the last one is from now.
    ///
    /// Only an envelope's own time can be moved. Invitations and first-generation messages repeat
    /// it in a header that is bound to their ciphertext, and clients refuse them when the two
    /// differ: these keep the time they were sent at. Contact bundles, conversation messages,
    /// preferences and private stores move.
    pub shift_times: bool,
    /// New traffic to make once the captures are played.
    pub generate: Option<Generator>,
    /// Begins to play and to generate when the first subscriber of everything is there, so that it
    /// misses nothing.
    pub wait_for_subscriber: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            grpc: SocketAddr::from(([127, 0, 0, 1], 0)),
            http: None,
            captures: Vec::new(),
            rate: None,
            shift_times: false,
            generate: None,
            wait_for_subscriber: false,
        }
    }
}

/// Generated traffic.
#[derive(Clone, Debug)]
pub struct Generator {
    /// The same seed generates the same wallets and, at the same times, the same envelopes.
    pub seed: u64,
    /// The mix of actions and the sizes of messages.
    pub config: Config,
    /// Envelopes a second. `None`: as fast as the subscribers read.
    pub rate: Option<u32>,
    /// Stops after so many envelopes. `None` goes on until the devnet stops.
    pub limit: Option<u64>,
    /// How many of the generated envelopes `Query` remembers; the oldest are forgotten first. It
    /// bounds the memory of a devnet that runs for weeks. `None` keeps all.
    pub keep: Option<usize>,
}

impl Generator {
    /// Endless traffic of the default kind; remembers a million envelopes.
    pub fn new(seed: u64) -> Self {
        Generator {
            seed,
            config: Config::default(),
            rate: None,
            limit: None,
            keep: Some(1_000_000),
        }
    }
}

/// Why a devnet did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address is taken, or not ours.
    #[error(
        "cannot listen on {address}: {reason}; choose another address, or port 0 for a free port"
    )]
    Listen {
        /// Where it was to listen.
        address: SocketAddr,
        /// The error of the system.
        reason: std::io::Error,
    },
    /// A capture cannot be read.
    #[error("cannot read the capture {}: {reason}; name a file of newline-delimited JSON, plain or gzipped", path.display())]
    Capture {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        reason: std::io::Error,
    },
    /// A line of a capture is not an envelope.
    #[error("line {line} of the capture {} is not an envelope: {reason}; mend or remove that line", path.display())]
    CaptureLine {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: wire::json::JsonError,
    },
    /// Nothing would hold the generator back.
    #[error(
        "the generator has neither a rate, nor a limit, nor a subscriber to wait for: it would fill the memory as fast as it can; set one of the three"
    )]
    Unbounded,
    /// A rate of 0 never plays anything.
    #[error(
        "a rate of 0 envelopes a second never plays anything; leave the rate out to play as fast as subscribers read"
    )]
    ZeroRate,
}
