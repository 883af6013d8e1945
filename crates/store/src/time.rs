//! Times of the network in Postgres: nanoseconds as `u64 - 2^63`, so that all of `u64` fits into `bigint` and sorts.

use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};

/// Network nanoseconds to the stored value.
#[must_use]
pub fn to_db(ns: u64) -> i64 {
    (ns ^ (1 << 63)).cast_signed()
}

/// The stored value to network nanoseconds.
#[must_use]
pub fn from_db(stored: i64) -> u64 {
    stored.cast_unsigned() ^ (1 << 63)
}

/// A point in time as network nanoseconds; what lies before 1970 is 0, what lies after 2554 is the last instant.
#[must_use]
pub fn from_datetime(at: DateTime<Utc>) -> u64 {
    let ns = i128::from(at.timestamp()) * 1_000_000_000 + i128::from(at.timestamp_subsec_nanos());
    u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
}

/// The wall clock in network nanoseconds. Callers pass it down; nothing below the roles reads the clock itself.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_times_keep_every_value_and_the_order() {
        let times = [0, 1, 1_700_000_000_000_000_000, (1 << 63) - 1, 1 << 63, u64::MAX];
        for pair in times.windows(2) {
            assert!(to_db(pair[0]) < to_db(pair[1]));
        }
        for time in times {
            assert_eq!(from_db(to_db(time)), time);
        }
    }

    #[test]
    fn dates_outside_of_the_network_s_range_are_clamped() {
        assert_eq!(from_datetime(DateTime::<Utc>::MIN_UTC), 0);
        assert_eq!(from_datetime(DateTime::<Utc>::MAX_UTC), u64::MAX);
        assert_eq!(from_datetime(DateTime::from_timestamp(1, 5).unwrap()), 1_000_000_005);
    }
}
