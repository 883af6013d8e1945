//! Reads the log a page at a time, decodes each envelope once, and passes it to every projection.
//!
//! Projections that stand at the same position share a page, a transaction and therefore a head. One that is behind,
//! because it could not write its rows, is caught up beside the others until it joins them; until then it is stale. Tables
//! that are being built again stand in a schema of their own (see `rebuild.rs`) and are swapped in when they have caught up.

mod finish;
mod groups;
mod page;
mod write;

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use wire::Verifier;

use crate::{
    database::Store,
    error::{Class, Error, Result},
    log::{PageBounds, Position},
    projection::Erased,
    projections,
};
use groups::{Group, Member};
use page::Page;
use write::Failure;

/// Envelopes of the first page; it grows while pages stay below their bytes.
const FIRST_STRIDE: i64 = 512;

/// How the projector works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The bounds of one page: its envelopes, and the bytes of messages that are in memory.
    pub bounds: PageBounds,
    /// How long to wait at the head before looking again.
    pub poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        // Large pages: a busy topic's counters are updated once a page.
        let bounds = PageBounds { envelopes: 40_000, bytes: 8 << 20 };
        Config { bounds, poll: Duration::from_millis(25) }
    }
}

/// Drives every projection. Any number of projectors may run: a page is written by the one that holds its watermarks.
pub struct Projector {
    store: Store,
    verifier: Arc<Verifier>,
    projections: Vec<Box<dyn Erased>>,
    config: Config,
    /// Members whose last page failed for a reason of their own, and when to try them again.
    held_back: HashMap<Member, HeldBack>,
    /// How many envelopes the next page requests: more than fit into its bytes would be read in vain.
    stride: AtomicI64,
    /// The page after the lead's position, read and decoded while the one before was being written.
    ahead: Option<Page>,
    /// When swaps of rebuilt tables are tried again that readers did not let through.
    swap_at: Option<Instant>,
    swap_delay: Duration,
}

struct HeldBack {
    until: Instant,
    delay: Duration,
}

impl Projector {
    /// A projector for every projection of this program.
    #[must_use]
    pub fn new(store: Store, verifier: Arc<Verifier>, config: Config) -> Projector {
        Projector::of(projections::all(), store, verifier, config)
    }

    fn of(
        projections: Vec<Box<dyn Erased>>,
        store: Store,
        verifier: Arc<Verifier>,
        config: Config,
    ) -> Projector {
        let stride = AtomicI64::new(config.bounds.envelopes.min(FIRST_STRIDE));
        Projector {
            store,
            verifier,
            projections,
            config,
            held_back: HashMap::new(),
            stride,
            ahead: None,
            swap_at: None,
            swap_delay: Duration::ZERO,
        }
    }

    /// Runs until it is cancelled. Failures of PostgreSQL are retried.
    ///
    /// # Errors
    /// Only when no retry helps: [`Class::Fatal`].
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut delay = Duration::from_millis(100);
        let mut prepared = false;
        while !stop.is_cancelled() {
            let outcome = match prepared {
                true => self.round().await,
                false => self.prepare().await.map(|()| prepared = true).map(|()| true),
            };
            let wait = match outcome {
                Ok(true) => {
                    delay = Duration::from_millis(100);
                    continue;
                }
                Ok(false) => self.config.poll,
                Err(error) if error.class() == Class::Fatal => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, retry_in = ?delay, "projecting is interrupted");
                    self.ahead = None;
                    let wait = delay;
                    delay = (delay * 2).min(Duration::from_secs(10));
                    wait
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    /// Works until every projection of this program stands at the head as it is now, and no rebuild of this program is left.
    /// Projections that a newer program has built are not waited for.
    ///
    /// # Errors
    /// When PostgreSQL fails, or while a projection cannot write its rows.
    pub async fn catch_up(&mut self) -> Result<Position> {
        self.prepare().await?;
        let head = self.store.head().await?;
        loop {
            if !self.round().await? {
                tokio::time::sleep(self.config.poll).await;
            }
            if !self.held_back.is_empty() {
                let names: Vec<_> =
                    self.held_back.keys().map(|member| self.projection(*member).name()).collect();
                return Err(Error::Refused(format!(
                    "these projections cannot write their rows: {}; `xmtp-indexer status` shows why",
                    names.join(", ")
                )));
            }
            let progression = self.store.progression().await?;
            let done = self.projections.iter().all(|projection| {
                let mark =
                    progression.watermarks.iter().find(|mark| mark.name == projection.name());
                mark.is_some_and(|mark| {
                    let rebuilt = mark.rebuild.is_none_or(|one| one.version > projection.version());
                    mark.version > projection.version()
                        || (mark.version == projection.version()
                            && mark.position >= head
                            && rebuilt)
                })
            });
            if done {
                return Ok(head);
            }
        }
    }

    /// Makes the watermarks fit this program.
    async fn prepare(&mut self) -> Result<()> {
        self.store.prepare_watermarks(&self.projections).await
    }

    fn projection(&self, member: Member) -> &dyn Erased {
        self.projections[member.index].as_ref()
    }

    /// One page for the leading group and one for the group that is furthest behind, or the end of a rebuild. `false`:
    /// nothing to do.
    async fn round(&mut self) -> Result<bool> {
        let progression = self.store.progression().await?;
        let head = progression.head;
        let groups = self.groups(&progression);
        if let Some(member) = groups.finishing(self.stride.load(Ordering::Relaxed))
            && self.swap_at.is_none_or(|at| at <= Instant::now())
        {
            let finished = self.finish(member).await;
            if finished.is_ok() {
                (self.swap_at, self.swap_delay) = (None, Duration::ZERO);
            }
            return self.settle(finished, &[member]).await.map(|()| true);
        }
        let groups::Groups { lead, behind, meet, .. } = groups;
        let lead = lead.filter(|lead| lead.at < head);
        if lead.is_none() && behind.is_none() {
            return Ok(false);
        }
        let ahead = self
            .ahead
            .take()
            .filter(|page| lead.as_ref().is_some_and(|lead| page.after == lead.at));
        let (led, caught) = tokio::join!(
            async {
                match &lead {
                    Some(group) => self.lead(group, head, ahead).await,
                    None => Ok(None),
                }
            },
            async {
                match &behind {
                    Some(group) => self.catch(group, meet).await,
                    None => Ok(()),
                }
            }
        );
        let led = led.map(|next| self.ahead = next);
        let members = |group: Option<Group>| group.map(|group| group.members).unwrap_or_default();
        self.settle(led, &members(lead)).await?;
        self.settle(caught, &members(behind)).await?;
        Ok(true)
    }

    /// Records which members are to be held back; returns errors that concern all of them.
    async fn settle(&mut self, outcome: Result<(), Failure>, written: &[Member]) -> Result<()> {
        let (member, error) = match outcome {
            Ok(()) => {
                self.held_back.retain(|member, _| !written.contains(member));
                return Ok(());
            }
            Err(Failure::Moved) => {
                // Another projector is at work. It may be slower than this one can look.
                tokio::time::sleep(Duration::from_millis(5)).await;
                return Ok(());
            }
            Err(Failure::Busy) => {
                // Each try makes readers wait for a moment: not too often.
                self.swap_delay =
                    (self.swap_delay * 2).clamp(Duration::from_secs(1), Duration::from_secs(60));
                self.swap_at = Some(Instant::now() + self.swap_delay);
                return Ok(());
            }
            Err(Failure::Store(error)) => return Err(error),
            Err(Failure::Projection(_, error)) if error.is_transient() => return Err(error),
            Err(Failure::Projection(member, error)) => (member, error),
        };
        let delay = self
            .held_back
            .get(&member)
            .map_or(Duration::from_secs(1), |held| (held.delay * 2).min(Duration::from_secs(60)));
        let name = self.projection(member).name();
        tracing::error!(projection = name, %error, retry_in = ?delay, "a projection cannot write its rows; the others go on");
        metrics::counter!("xmtp_indexer_projection_failures_total", "projection" => name)
            .increment(1);
        self.held_back.insert(member, HeldBack { until: Instant::now() + delay, delay });
        let mut connection = self.store.connection().await?;
        let rebuild = member.target == groups::Target::Rebuild;
        crate::watermarks::report_error(&mut connection, name, rebuild, &error.to_string()).await
    }

    /// Writes the leading group's next page, and reads the one after it meanwhile.
    async fn lead(
        &self,
        group: &Group,
        head: Position,
        ahead: Option<Page>,
    ) -> Result<Option<Page>, Failure> {
        let page = match ahead {
            Some(page) => page,
            None => self.read(group.at, head).await?,
        };
        let last = page.last().ok_or_else(|| hole(group.at))?;
        let (written, next) = tokio::join!(self.write(group, &page), async {
            match last < head {
                true => self.read(last, head).await.map(Some),
                false => Ok(None),
            }
        });
        written?;
        Ok(next?)
    }

    /// Writes one page for a group that is behind.
    async fn catch(&self, group: &Group, upto: Position) -> Result<(), Failure> {
        let page = self.read(group.at, upto).await?;
        page.last().ok_or_else(|| hole(group.at))?;
        self.write(group, &page).await
    }
}

/// Positions are dense: behind one that lies before the head there is another.
fn hole(after: Position) -> Error {
    Error::Contradiction {
        table: "ground.envelopes",
        what: format!("there is nothing behind position {after}, and the head lies beyond"),
    }
}

#[cfg(test)]
pub(crate) mod tests;
