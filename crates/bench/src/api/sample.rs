//! One measurement, and the processes whose CPU belongs to it.

use std::ops::Sub;

use crate::machine;

/// Who works for an answer besides the one who asks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watched {
    /// The server, if there is one between.
    pub(super) server: Option<u32>,
    /// PostgreSQL's postmaster, with its backends.
    pub(super) postgres: u32,
}

/// CPU seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    server: f64,
    postgres: f64,
}

impl Sub for Cpu {
    type Output = Cpu;

    fn sub(self, other: Cpu) -> Cpu {
        Cpu { server: self.server - other.server, postgres: self.postgres - other.postgres }
    }
}

impl Watched {
    pub(super) fn cpu(&self) -> Cpu {
        Cpu {
            server: self.server.map_or(0.0, machine::cpu_seconds),
            postgres: machine::cpu_seconds(self.postgres),
        }
    }
}

/// What one run showed.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Sample {
    /// Queries a second.
    pub(super) rate: f64,
    /// Milliseconds; half are faster.
    pub(super) p50: f64,
    /// Milliseconds; 99 of 100 are faster.
    pub(super) p99: f64,
    /// Microseconds of CPU a query in the server.
    pub(super) server: f64,
    /// In PostgreSQL.
    pub(super) postgres: f64,
    /// In the client.
    pub(super) client: f64,
}

impl Sample {
    /// From the milliseconds of every query.
    pub(super) fn new(
        times: Vec<f64>,
        seconds: u64,
        cpu: Cpu,
        client: f64,
    ) -> anyhow::Result<Sample> {
        let count = times.len() as f64;
        Sample::of(times, count, count / seconds as f64, cpu, client)
    }

    /// From the milliseconds of some of `count` queries.
    pub(super) fn of(
        mut times: Vec<f64>,
        count: f64,
        rate: f64,
        cpu: Cpu,
        client: f64,
    ) -> anyhow::Result<Sample> {
        anyhow::ensure!(!times.is_empty(), "no query was answered in the time");
        times.sort_by(f64::total_cmp);
        let share = |part: f64| times[(((times.len() - 1) as f64) * part) as usize];
        let each = |seconds: f64| seconds * 1e6 / count;
        Ok(Sample {
            rate,
            p50: share(0.5),
            p99: share(0.99),
            server: each(cpu.server),
            postgres: each(cpu.postgres),
            client: each(client),
        })
    }
}

/// The middle of some numbers; 0 of none.
pub(super) fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.into_iter().collect();
    numbers.sort_by(f64::total_cmp);
    match numbers.len() {
        0 => 0.0,
        n if n % 2 == 1 => numbers[n / 2],
        n => (numbers[n / 2 - 1] + numbers[n / 2]) / 2.0,
    }
}
