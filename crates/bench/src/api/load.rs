//! Asks as fast as answers come, or at a fixed rate; on a thread of its own, whose CPU can be told apart.

use std::{
    cell::Cell,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use store::measure::population::Population;
use tokio::task::{JoinSet, LocalSet};

use super::{
    http::{Connection, Target},
    question::{Dialect, Question},
    sample::{Sample, Watched},
};
use crate::machine;

/// How hard to ask.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// This many connections, each as soon as it has its answer.
    Closed(usize),
    /// This many a second, whether or not answers come.
    Open(f64),
}

/// Connections of an open loop: enough that one is free.
const OPEN: usize = 64;
/// Asked, but not counted: connections, prepared statements and caches become warm.
const WARM: Duration = Duration::from_millis(500);

/// What to ask whom.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) target: Target,
    pub(super) dialect: Dialect,
    pub(super) question: Question,
    pub(super) population: Population,
}

impl Load {
    /// Runs for so long.
    pub(super) async fn run(
        &self,
        pace: Pace,
        seconds: u64,
        watched: &Watched,
    ) -> anyhow::Result<Sample> {
        let (load, watched) = (self.clone(), *watched);
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::Builder::new().name("load".into()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let outcome = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
                runtime.block_on(LocalSet::new().run_until(load.here(pace, seconds, watched)))
            });
            tell.send(outcome).ok();
        })?;
        told.await.context("the load ended early")?
    }

    async fn here(self, pace: Pace, seconds: u64, watched: Watched) -> anyhow::Result<Sample> {
        let connections = match pace {
            Pace::Closed(connections) => connections,
            Pace::Open(_) => OPEN,
        };
        let load = Rc::new(self);
        let mut open = Vec::new();
        for _ in 0..connections {
            open.push(Connection::open(&load.target).await?);
        }
        let begin = Instant::now();
        let (first, last) = (begin + WARM, begin + WARM + Duration::from_secs(seconds));
        let turn = Rc::new(Cell::new(0_u64));
        let mut tasks = JoinSet::new();
        for (seed, connection) in (1..).zip(open) {
            let (load, turn) = (load.clone(), turn.clone());
            tasks.spawn_local(async move {
                load.ask(connection, seed, pace, begin, (first, last), turn).await
            });
        }
        tokio::time::sleep_until(first.into()).await;
        let before = (watched.cpu(), machine::thread_cpu_seconds());
        tokio::time::sleep_until(last.into()).await;
        let after = (watched.cpu(), machine::thread_cpu_seconds());
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            times.extend(done??);
        }
        Sample::new(times, seconds, after.0 - before.0, after.1 - before.1)
    }

    /// One connection, until the end. Gives the milliseconds of answers that came within the time.
    async fn ask(
        &self,
        mut connection: Connection,
        seed: u64,
        pace: Pace,
        begin: Instant,
        (first, last): (Instant, Instant),
        turn: Rc<Cell<u64>>,
    ) -> anyhow::Result<Vec<f64>> {
        let choices = self.question.choices(&self.population);
        let (mut dice, mut times) = (seed, Vec::new());
        loop {
            let mut asked = Instant::now();
            if let Pace::Open(rate) = pace {
                let nth = turn.replace(turn.get() + 1);
                let due = begin + Duration::from_secs_f64(nth as f64 / rate);
                // Who is late because all were busy has waited since it was due; who slept, since it woke: timers are
                // coarse, and that is not the server's doing.
                if due > asked {
                    tokio::time::sleep_until(due.into()).await;
                    asked = Instant::now();
                } else {
                    asked = due;
                }
            }
            if Instant::now() >= last {
                return Ok(times);
            }
            let body =
                self.dialect.body(self.question, &self.population, roll(&mut dice) % choices);
            connection.ask(&body).await?;
            let done = Instant::now();
            if asked >= first && done <= last {
                times.push(done.duration_since(asked).as_secs_f64() * 1e3);
            }
        }
    }

    /// The whole answer to one of the questions, as JSON.
    pub(super) async fn answer(&self, nth: u64) -> anyhow::Result<serde_json::Value> {
        let mut connection = Connection::open(&self.target).await?;
        let body = self.dialect.body(self.question, &self.population, nth);
        Ok(serde_json::from_str(connection.ask(&body).await?)?)
    }
}

/// The next of a row of numbers without visible order.
fn roll(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
