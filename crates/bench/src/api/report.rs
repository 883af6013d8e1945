//! What was measured, in a table or as JSON; the verdicts are ratios within one run.

use serde_json::{Value, json};

use super::{
    question::Question,
    sample::{Sample, median},
    subscribers::Told,
};
/// Milliseconds for 99 of 100 at half of the highest rate, at most.
const P99: f64 = 10.0;
/// The program's memory in MiB, less than.
const MEMORY: u64 = 200;

/// The rounds of one question.
pub(super) struct Rounds {
    pub(super) question: Question,
    pub(super) limit: Vec<Sample>,
    pub(super) ours: Vec<Sample>,
    pub(super) peer: Vec<Sample>,
    /// At half of the rate just reached.
    pub(super) half: Sample,
}

impl Rounds {
    /// The middle of what each round says, since rounds see the same weather.
    fn ratio(&self, other: &[Sample]) -> Option<f64> {
        let each = self.ours.iter().zip(other).map(|(ours, other)| ours.rate / other.rate);
        (!other.is_empty()).then(|| median(each))
    }

    fn checks(&self) -> Vec<Check> {
        let targets = self.question.targets();
        let limit = self.ratio(&self.limit).map(|ratio| Check {
            what: "of pgbench's rate",
            found: ratio,
            wanted: format!("at least {:.2}", targets.of_limit),
            met: ratio >= targets.of_limit,
        });
        let peer = self.ratio(&self.peer).map(|ratio| Check {
            what: "times PostGraphile's rate",
            found: ratio,
            wanted: format!("at least {:.1}", targets.of_peer),
            met: ratio >= targets.of_peer,
        });
        let half = Check {
            what: "ms p99 at half of the highest rate",
            found: self.half.p99,
            wanted: format!("under {P99:.0}"),
            met: self.half.p99 < P99,
        };
        limit.into_iter().chain(peer).chain([half]).collect()
    }
}

/// One target.
#[derive(serde::Serialize)]
struct Check {
    what: &'static str,
    found: f64,
    wanted: String,
    met: bool,
}

/// Everything that was found.
pub(super) struct Report {
    pub(super) envelopes: u64,
    pub(super) invites: u64,
    pub(super) rounds: Vec<Rounds>,
    pub(super) told: Told,
    /// Why there is no peer.
    pub(super) no_peer: Option<String>,
    /// Too little was measured for a verdict.
    pub(super) smoke: bool,
    /// The load of the machine at the beginning and at the end.
    pub(super) load: [String; 2],
}

impl Report {
    fn memory(&self) -> Check {
        Check {
            what: "MiB of memory, at most, with subscribers",
            found: self.told.peak_mib as f64,
            wanted: format!("under {MEMORY}"),
            met: self.told.peak_mib < MEMORY,
        }
    }

    pub(super) fn json(&self) -> Value {
        let questions = self.rounds.iter().map(|rounds| {
            json!({
                "question": rounds.question.name(),
                "pgbench": rounds.limit,
                "xmtp-indexer": rounds.ours,
                "postgraphile": rounds.peer,
                "half": rounds.half,
                "checks": rounds.checks(),
            })
        });
        json!({
            "envelopes": self.envelopes,
            "invites": self.invites,
            "questions": questions.collect::<Vec<_>>(),
            "subscribers": self.told,
            "checks": [self.memory()],
            "no_postgraphile": self.no_peer,
            "smoke": self.smoke,
            "load1": self.load,
        })
    }

    pub(super) fn show(&self) {
        println!();
        println!(
            "  {} envelopes, {} invites; load {} at the beginning, {} at the end",
            self.envelopes, self.invites, self.load[0], self.load[1]
        );
        if self.smoke {
            println!("  smoke: it works and answers are equal; the figures mean nothing");
        }
        if let Some(reason) = &self.no_peer {
            println!("  without PostGraphile: {reason}");
        }
        for rounds in &self.rounds {
            println!();
            println!(
                "  {:<22}{:>9}  {:<19}{:>8}{:>9}   us of CPU a query: server, Postgres, client",
                rounds.question.name(),
                "queries/s",
                "(min..max)",
                "p50 ms",
                "p99 ms"
            );
            row("pgbench -M prepared", &rounds.limit);
            row("xmtp-indexer", &rounds.ours);
            row("PostGraphile", &rounds.peer);
            row("xmtp-indexer at half", std::slice::from_ref(&rounds.half));
            rounds.checks().iter().for_each(|check| self.verdict(check));
        }
        println!();
        let Told { subscribers, appended, delivered, seconds, .. } = self.told;
        println!(
            "  {subscribers} subscribers: {appended} envelopes made {delivered} of {} deliveries in {seconds:.1} s",
            appended * subscribers
        );
        self.verdict(&self.memory());
    }

    fn verdict(&self, check: &Check) {
        let mark = match check.met {
            _ if self.smoke => ' ',
            true => '✓',
            false => '✗',
        };
        println!("    {mark} {:.2} {} ({})", check.found, check.what, check.wanted);
    }

    /// Was everything delivered?
    pub(super) fn complete(&self) -> bool {
        self.told.delivered == self.told.appended * self.told.subscribers
    }
}

fn row(who: &str, samples: &[Sample]) {
    if samples.is_empty() {
        return;
    }
    let middle = |of: fn(&Sample) -> f64| median(samples.iter().map(of));
    let rates = samples.iter().map(|sample| sample.rate);
    let (min, max) = (rates.clone().fold(f64::INFINITY, f64::min), rates.fold(0.0, f64::max));
    println!(
        "    {who:<20}{:>9.0}  {:<19}{:>8.2}{:>9.2}   {:.0}, {:.0}, {:.0}",
        middle(|sample| sample.rate),
        format!("({min:.0}..{max:.0})"),
        middle(|sample| sample.p50),
        middle(|sample| sample.p99),
        middle(|sample| sample.server),
        middle(|sample| sample.postgres),
        middle(|sample| sample.client),
    );
}
