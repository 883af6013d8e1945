//! Progress of a source of kind `message-api`: until when its stream was whole, and which topics were read back.

use std::collections::BTreeMap;

use store::Progress;

/// The names of the shards in `ground.progress`.
pub(crate) const WHOLE_UNTIL: &str = "whole-until";
pub(crate) const READ_BACK_TO: &str = "read-back-to";
pub(crate) const WATCHED_SINCE: &str = "watched-since";

/// Nodes of this kind do not number what they relay, so progress is two times of our clock and a position of the log. All
/// three only grow: the database keeps the greatest value of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageApiProgress {
    /// Everything that the node relayed before this time (nanoseconds since 1970) is durable; 0 when nothing is certain.
    pub whole_until_ns: u64,
    /// Topics that were first seen up to this position of the log have been read back to their beginning.
    pub read_back_to: u64,
    /// When the stream was first read (nanoseconds since 1970); 0 when it never was.
    pub watched_since_ns: u64,
}

impl MessageApiProgress {
    /// Reads what the database has of a source. A shard that is missing counts as 0: then everything is read again, and
    /// nothing is lost.
    #[must_use]
    pub fn of(shards: &BTreeMap<String, i64>) -> Self {
        let upto = |shard| {
            shards.get(shard).and_then(|upto| u64::try_from(*upto).ok()).unwrap_or_default()
        };
        Self {
            whole_until_ns: upto(WHOLE_UNTIL),
            read_back_to: upto(READ_BACK_TO),
            watched_since_ns: upto(WATCHED_SINCE),
        }
    }

    /// Returns the shards that are further than in `earlier`. Values beyond 2^63 - 1 are stored as that.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Vec<Progress> {
        [
            (WHOLE_UNTIL, self.whole_until_ns, earlier.whole_until_ns),
            (READ_BACK_TO, self.read_back_to, earlier.read_back_to),
            (WATCHED_SINCE, self.watched_since_ns, earlier.watched_since_ns),
        ]
        .into_iter()
        .filter(|(_, now, before)| now > before)
        .map(|(shard, now, _)| Progress {
            shard: shard.to_owned(),
            upto: i64::try_from(now).unwrap_or(i64::MAX),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(progress: Vec<Progress>) -> BTreeMap<String, i64> {
        progress.into_iter().map(|one| (one.shard, one.upto)).collect()
    }

    fn progress([whole_until_ns, read_back_to, watched_since_ns]: [u64; 3]) -> MessageApiProgress {
        MessageApiProgress { whole_until_ns, read_back_to, watched_since_ns }
    }

    proptest! {
        #[test]
        fn it_comes_back_as_it_was(values in any::<[u64; 3]>()) {
            let least = values.map(|value| value.min(i64::MAX as u64));
            let shards = progress(values).since(&MessageApiProgress::default());
            prop_assert_eq!(MessageApiProgress::of(&stored(shards)), progress(least));
        }
    }

    #[test]
    fn only_shards_that_moved_forward_are_published() {
        let shards = progress([5, 4, 3]).since(&progress([5, 2, 9]));
        assert_eq!(shards, [Progress { shard: "read-back-to".into(), upto: 4 }]);
        assert!(progress([1, 1, 1]).since(&progress([1, 1, 1])).is_empty());
    }

    #[test]
    fn shards_of_other_kinds_and_values_below_zero_count_as_nothing() {
        let shard = |shard: &str, upto| Progress { shard: shard.into(), upto };
        let shards = stored(vec![shard("100", 7), shard("whole-until", -1)]);
        assert_eq!(MessageApiProgress::of(&shards), MessageApiProgress::default());
    }
}
