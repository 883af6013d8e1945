//! Reads the log a page at a time, decodes each envelope once, and gives what it says to every projection.
//!
//! Projections that stand at the same position share a page, a transaction and therefore a head. One that is behind
//! (new, rebuilding, or kept back by an error of its own) is caught up beside the others until it joins them.

use std::{
    collections::{BTreeMap, HashMap},
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
    projections::{self, Entry, Erased},
    watermarks,
};

/// Envelopes of the first page; it grows while pages stay below their bytes.
const FIRST_STRIDE: i64 = 512;

/// How the projector works.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The bounds of one page.
    pub bounds: PageBounds,
    /// How long to wait at the head before looking again.
    pub poll: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config { bounds: PageBounds::default(), poll: Duration::from_millis(25) }
    }
}

/// Drives every projection. Any number of projectors may run: a page is written by whoever holds its watermarks.
pub struct Projector {
    store: Store,
    verifier: Arc<Verifier>,
    projections: Vec<Box<dyn Erased>>,
    config: Config,
    /// Projections whose last page failed for a reason of their own, and when to try them again.
    held_back: HashMap<&'static str, HeldBack>,
    /// How many envelopes the next page is asked for: more than fit into its bytes would be read for nothing.
    stride: AtomicI64,
    /// The page after the lead's position, read and decoded while the one before was being written.
    ahead: Option<(Position, Vec<Entry>)>,
}

struct HeldBack {
    until: Instant,
    delay: Duration,
}

/// The projections, by index, that stand at one position.
struct Group {
    at: Position,
    members: Vec<usize>,
}

/// Why a page was not written.
enum Failure {
    /// Somebody else moved a watermark: look again.
    Moved,
    /// One projection refused its rows.
    Projection(&'static str, Error),
    /// Postgres.
    Store(Error),
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Store(error.into())
    }
}

impl Projector {
    /// A projector for every projection of this program.
    #[must_use]
    pub fn new(store: Store, verifier: Arc<Verifier>, config: Config) -> Projector {
        let projections = projections::all();
        let stride = AtomicI64::new(config.bounds.envelopes.min(FIRST_STRIDE));
        Projector {
            store,
            verifier,
            projections,
            config,
            held_back: HashMap::new(),
            stride,
            ahead: None,
        }
    }

    /// Works until told to stop. Trouble with Postgres is waited out.
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
                    delay = (delay * 2).min(Duration::from_secs(10));
                    delay
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    /// Works until every projection stands at the head as it is now.
    ///
    /// # Errors
    /// When Postgres fails, or a projection refuses its rows.
    pub async fn catch_up(&mut self) -> Result<Position> {
        self.prepare().await?;
        let head = self.store.head().await?;
        loop {
            self.round().await?;
            if !self.held_back.is_empty() {
                let names: Vec<_> = self.held_back.keys().copied().collect();
                return Err(Error::Contradiction {
                    table: "derived",
                    what: format!(
                        "these projections cannot write their rows: {}",
                        names.join(", ")
                    ),
                });
            }
            let marks = self.store.watermarks().await?;
            if self
                .projections
                .iter()
                .all(|p| marks.iter().any(|m| m.name == p.name() && m.position >= head))
            {
                return Ok(head);
            }
        }
    }

    /// Makes the watermarks fit this program.
    async fn prepare(&mut self) -> Result<()> {
        let refused = self.store.prepare_watermarks(&self.projections).await?;
        for error in &refused {
            tracing::error!(%error, "a projection is left alone");
        }
        self.projections.retain(|p| {
            !refused.iter().any(
                |error| matches!(error, Error::NewerProjection { name, .. } if *name == p.name()),
            )
        });
        Ok(())
    }

    /// One page for the leading group and one for the group that is furthest behind. `false`: nothing to do.
    async fn round(&mut self) -> Result<bool> {
        let head = self.store.head().await?;
        let mut groups = self.groups(head).await?;
        let Some(lead) = groups.pop() else { return Ok(false) };
        let behind = (!groups.is_empty()).then(|| groups.remove(0));
        // The one behind stops where the next group stands, and joins it there.
        let meet = groups.first().map_or(lead.at, |next| next.at);
        if lead.at >= head && behind.is_none() {
            return Ok(false);
        }
        let ahead = self.ahead.take().filter(|(after, _)| *after == lead.at);
        let (led, caught) = tokio::join!(self.lead(&lead, head, ahead), async {
            match &behind {
                Some(group) => self.catch(group, meet).await,
                None => Ok(()),
            }
        });
        let led = led.map(|next| self.ahead = next);
        self.settle(led)?;
        self.settle(caught)?;
        Ok(true)
    }

    /// Remembers who is to be held back; passes on what concerns everybody.
    fn settle(&mut self, outcome: Result<(), Failure>) -> Result<()> {
        match outcome {
            Ok(()) | Err(Failure::Moved) => Ok(()),
            Err(Failure::Store(error)) => Err(error),
            Err(Failure::Projection(_, error)) if error.class() == Class::Retry => Err(error),
            Err(Failure::Projection(name, error)) => {
                let delay = self.held_back.get(name).map_or(Duration::from_secs(1), |held| {
                    (held.delay * 2).min(Duration::from_secs(60))
                });
                tracing::error!(projection = name, %error, retry_in = ?delay, "a projection cannot write its rows; the others go on");
                metrics::counter!("xmtp_indexer_projection_failures_total", "projection" => name)
                    .increment(1);
                self.held_back.insert(name, HeldBack { until: Instant::now() + delay, delay });
                Ok(())
            }
        }
    }

    /// The groups that may work now, by position.
    async fn groups(&self, head: Position) -> Result<Vec<Group>> {
        let marks = self.store.watermarks().await?;
        let mut groups: BTreeMap<Position, Vec<usize>> = BTreeMap::new();
        for (index, projection) in self.projections.iter().enumerate() {
            let Some(mark) = marks.iter().find(|mark| mark.name == projection.name()) else {
                continue;
            };
            let lag = head.0.saturating_sub(mark.position.0);
            metrics::gauge!("xmtp_indexer_projection_lag", "projection" => projection.name())
                .set(lag as f64);
            if self.held_back.get(projection.name()).is_some_and(|held| held.until > Instant::now())
            {
                continue;
            }
            groups.entry(mark.position).or_default().push(index);
        }
        Ok(groups.into_iter().map(|(at, members)| Group { at, members }).collect())
    }

    /// Writes the leading group's next page, and reads the one after it meanwhile.
    async fn lead(
        &self,
        group: &Group,
        head: Position,
        ahead: Option<(Position, Vec<Entry>)>,
    ) -> Result<Option<(Position, Vec<Entry>)>, Failure> {
        let page = match ahead {
            Some((_, page)) => page,
            None => self.read(group.at, head).await?,
        };
        let Some(last) = page.last().map(|entry| entry.logged.position) else { return Ok(None) };
        let (written, next) = tokio::join!(self.write(group, &page), async {
            match last < head {
                true => self.read(last, head).await.map(|page| Some((last, page))),
                false => Ok(None),
            }
        });
        written?;
        Ok(next?)
    }

    /// Writes one page for a group that is behind.
    async fn catch(&self, group: &Group, upto: Position) -> Result<(), Failure> {
        let page = self.read(group.at, upto).await?;
        self.write(group, &page).await
    }

    /// Reads and decodes a page, on as many cores as there are.
    async fn read(&self, after: Position, upto: Position) -> Result<Vec<Entry>> {
        let stride = self.stride.load(Ordering::Relaxed);
        let bounds = PageBounds { envelopes: stride, ..self.config.bounds };
        let mut page = self.store.page(after, upto, bounds).await?;
        let got = i64::try_from(page.len()).unwrap_or(i64::MAX);
        let cut_short = got < stride.min(upto.0.saturating_sub(after.0));
        let next = if cut_short { got } else { stride.saturating_mul(2) };
        self.stride.store(next.clamp(1, self.config.bounds.envelopes.max(1)), Ordering::Relaxed);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let share = page.len().div_ceil(cores).max(128);
        let mut tasks = Vec::with_capacity(cores);
        while !page.is_empty() {
            let rest = page.split_off(share.min(page.len()));
            let part = std::mem::replace(&mut page, rest);
            let verifier = self.verifier.clone();
            tasks.push(tokio::task::spawn_blocking(move || {
                part.into_iter().map(|logged| Entry::read(logged, &verifier)).collect::<Vec<_>>()
            }));
        }
        let mut entries = Vec::new();
        for task in tasks {
            entries.extend(task.await.map_err(|error| Error::Contradiction {
                table: "ground.envelopes",
                what: format!("decoding the page after position {after} failed: {error}"),
            })?);
        }
        Ok(entries)
    }

    /// Rows and watermarks of one page, in one transaction.
    async fn write(&self, group: &Group, page: &[Entry]) -> Result<(), Failure> {
        let Some(last) = page.last().map(|entry| entry.logged.position) else { return Ok(()) };
        let began = Instant::now();
        let names: Vec<&str> =
            group.members.iter().map(|&index| self.projections[index].name()).collect();
        let mut client = self.store.client().await?;
        let tx = client.transaction().await?;
        // What a crash takes back, the watermark takes back with it: the page is simply done again.
        tx.batch_execute("set local synchronous_commit = off").await?;
        let marks = watermarks::lock(&tx, &names).await?;
        for &index in &group.members {
            let projection = &self.projections[index];
            if marks.get(projection.name()) != Some(&(projection.version(), group.at)) {
                return Err(Failure::Moved);
            }
        }
        for &index in &group.members {
            let projection = &self.projections[index];
            projection
                .project(&tx, page)
                .await
                .map_err(|error| Failure::Projection(projection.name(), error))?;
        }
        watermarks::advance(&tx, &names, last).await?;
        tx.commit().await?;
        metrics::histogram!("xmtp_indexer_projection_page_seconds")
            .record(began.elapsed().as_secs_f64());
        Ok(())
    }
}

#[cfg(test)]
mod tests;
