//! Until when the stream of a source was whole, as far as it can be known: the state machine behind the progress `whole-until`.
//!
//! A stream covers the time from its subscription to its end. A sweep, begun when a stream is up, covers everything before
//! its own beginning. So when a sweep is complete the source is whole up to as far as the stream reached that was up when
//! the sweep began. A stream that broke meanwhile does not spoil the sweep, it only ends what it covers; then the next
//! sweep begins. Times move only forward, and only with what the broker has confirmed.

/// Numbers the streams of one run.
pub type Epoch = u64;

/// The state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    whole_until: u64,
    /// The stream that is up.
    up: Option<Epoch>,
    /// The stream whose coverage joins what is whole (or will be, once the sweep is complete).
    joined: Option<Epoch>,
    /// A sweep is running; when it is complete the source is whole up to this.
    sweep_reaches: Option<u64>,
}

impl Coverage {
    /// As an earlier run left it.
    #[must_use]
    pub fn resumed(whole_until: u64) -> Self {
        Self { whole_until, ..Self::default() }
    }

    /// Everything before this is durable; 0 when nothing is sure.
    #[must_use]
    pub fn whole_until(&self) -> u64 {
        self.whole_until
    }

    /// Up to when the sweep that runs will have made the source whole.
    #[must_use]
    pub fn sweep_reaches(&self) -> Option<u64> {
        self.sweep_reaches
    }

    /// A stream is up and none of its coverage joins what is whole: a sweep must begin now.
    #[must_use]
    pub fn wants_sweep(&self) -> bool {
        self.sweep_reaches.is_none() && self.up.is_some() && self.up != self.joined
    }

    /// A subscription was registered.
    pub fn subscribed(&mut self, epoch: Epoch) {
        self.up = Some(epoch);
    }

    /// A stream ended.
    pub fn ended(&mut self, epoch: Epoch) {
        if self.up == Some(epoch) {
            self.up = None;
        }
    }

    /// A sweep begins at this time, from what is whole.
    pub fn sweep_began(&mut self, now: u64) {
        self.joined = self.up;
        self.sweep_reaches = Some(now);
    }

    /// Everything that this stream delivered up to this time is confirmed.
    pub fn confirmed(&mut self, epoch: Epoch, time: u64) {
        if self.joined != Some(epoch) {
            return;
        }
        match &mut self.sweep_reaches {
            Some(reaches) => *reaches = time.max(*reaches),
            None => self.whole_until = time.max(self.whole_until),
        }
    }

    /// The sweep is complete, and everything that it found is confirmed.
    pub fn swept(&mut self) {
        if let Some(reaches) = self.sweep_reaches.take() {
            self.whole_until = reaches.max(self.whole_until);
        }
    }

    /// The sweep was abandoned: nothing is gained, and the next one begins from the same place.
    pub fn sweep_failed(&mut self) {
        self.sweep_reaches = None;
        self.joined = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_first_stream_is_whole_only_after_its_sweep() {
        let mut coverage = Coverage::resumed(100);
        coverage.subscribed(1);
        assert!(coverage.wants_sweep());
        coverage.sweep_began(200);
        coverage.confirmed(1, 250);
        assert_eq!(coverage.whole_until(), 100);
        coverage.swept();
        assert_eq!(coverage.whole_until(), 250);
        coverage.confirmed(1, 300);
        assert_eq!(coverage.whole_until(), 300);
        assert!(!coverage.wants_sweep());
    }

    #[test]
    fn a_stream_that_breaks_during_the_sweep_ends_what_the_sweep_gains() {
        let mut coverage = Coverage::resumed(100);
        coverage.subscribed(1);
        coverage.sweep_began(200);
        coverage.ended(1);
        coverage.subscribed(2);
        coverage.confirmed(1, 220); // of the first stream, confirmed late
        coverage.confirmed(2, 400);
        coverage.swept();
        assert_eq!(coverage.whole_until(), 220);
        assert!(coverage.wants_sweep());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Relay,
        Connect,
        Break,
        Confirm,
        SweepEnds,
        SweepFails,
        Crash,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => Just(Step::Relay), 2 => Just(Step::Connect), 2 => Just(Step::Break), 3 => Just(Step::Confirm),
            2 => Just(Step::SweepEnds), 1 => Just(Step::SweepFails), 1 => Just(Step::Crash),
        ];
        prop::collection::vec(step, 1..120)
    }

    proptest! {
        /// A node relays one envelope a tick. Whatever breaks when, everything relayed before `whole_until` was read and confirmed.
        #[test]
        fn nothing_before_the_progress_is_missing(steps in steps()) {
            let mut durable = Vec::<bool>::new();
            let (mut coverage, mut epoch, mut up) = (Coverage::default(), 0, false);
            let mut read: Vec<(Epoch, usize)> = Vec::new(); // read and not confirmed
            let mut sweep: Option<Vec<usize>> = None;
            for step in steps {
                let now = durable.len();
                match step {
                    Step::Relay => {
                        durable.push(false);
                        if up {
                            read.push((epoch, now));
                        }
                    }
                    Step::Connect if !up => {
                        up = true;
                        epoch += 1;
                        coverage.subscribed(epoch);
                    }
                    Step::Break if up => {
                        up = false;
                        coverage.ended(epoch);
                    }
                    Step::Confirm => {
                        for (_, at) in &read {
                            durable[*at] = true;
                        }
                        // A mark for each stream: the time after its last envelope.
                        for (epoch, at) in std::mem::take(&mut read) {
                            coverage.confirmed(epoch, at as u64 + 1);
                        }
                    }
                    Step::SweepEnds => {
                        if let Some(found) = sweep.take() {
                            for at in found {
                                durable[at] = true;
                            }
                            coverage.swept();
                        }
                    }
                    Step::SweepFails => {
                        if sweep.take().is_some() {
                            coverage.sweep_failed();
                        }
                    }
                    Step::Crash => {
                        coverage = Coverage::resumed(coverage.whole_until());
                        (up, sweep) = (false, None);
                        read.clear();
                        epoch += 1;
                    }
                    Step::Connect | Step::Break => {}
                }
                if coverage.wants_sweep() {
                    let from = usize::try_from(coverage.whole_until()).unwrap();
                    sweep = Some((from..durable.len()).collect());
                    coverage.sweep_began(durable.len() as u64);
                }
                let whole = usize::try_from(coverage.whole_until()).unwrap();
                prop_assert!(durable[..whole].iter().all(|durable| *durable), "a gap before {whole}");
            }
        }
    }
}
