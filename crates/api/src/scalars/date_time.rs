use std::ops::Range;

use async_graphql::{Description, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::Utc;

/// A point in time: RFC 3339 in UTC with nanoseconds, such as 2024-01-31T23:59:59.123456789Z. Any offset and precision
/// is taken on input; what lies outside of 1970 to 2554 is taken as the nearest instant within.
#[derive(Description, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DateTime(pub(crate) u64);

impl From<chrono::DateTime<Utc>> for DateTime {
    fn from(at: chrono::DateTime<Utc>) -> Self {
        DateTime(store::time::from_datetime(at))
    }
}

impl DateTime {
    /// Writes it. By hand, because answers are full of times: the general way takes ten times as long.
    pub(crate) fn spell(self, to: &mut Vec<u8>) {
        let (seconds, nanos) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let (year, month, day) = date(seconds / 86_400);
        let time = seconds % 86_400;
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        number(&mut text, 0..4, year);
        number(&mut text, 5..7, month);
        number(&mut text, 8..10, day);
        number(&mut text, 11..13, time / 3_600);
        number(&mut text, 14..16, time / 60 % 60);
        number(&mut text, 17..19, time % 60);
        number(&mut text, 20..29, nanos);
        to.extend_from_slice(&text);
    }
}

/// Writes digits there. Inlined, so that the range is known and each step is one multiplication.
#[inline(always)]
fn number(text: &mut [u8; 30], at: Range<usize>, number: u64) {
    // None of them has more than nine digits.
    let mut rest = number as u32;
    for digit in text[at].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Year, month and day of a day since 1970-01-01. Years begin in March here, so that the day which some have more is
/// their last; 400 of them have 146,097 days.
fn date(day: u64) -> (u64, u64, u64) {
    let since = day + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    (year, month, of_year - (153 * march + 2) / 5 + 1)
}

impl std::fmt::Display for DateTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = Vec::with_capacity(30);
        self.spell(&mut text);
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

#[Scalar(use_type_description = true)]
impl ScalarType for DateTime {
    fn parse(value: Value) -> InputValueResult<Self> {
        match value {
            Value::String(text) => chrono::DateTime::parse_from_rfc3339(&text)
                .map(|at| at.with_timezone(&Utc).into())
                .map_err(|_| {
                    InputValueError::custom(
                        "not a point in time as in RFC 3339, such as 2024-01-31T23:59:59Z",
                    )
                }),
            other => Err(InputValueError::expected_type(other)),
        }
    }

    fn to_value(&self) -> Value {
        Value::String(self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_of_the_network_is_written_and_read_back() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (1_706_745_599_123_456_789, "2024-01-31T23:59:59.123456789Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(DateTime(ns).to_string(), text);
            assert_eq!(DateTime::parse(Value::String(text.into())).unwrap(), DateTime(ns));
        }
    }

    #[test]
    fn times_are_written_as_the_library_writes_them() {
        let mut ns = 0_u64;
        while let Some(next) = ns.checked_add(86_399_987_654_321_123) {
            let seconds = i64::try_from(ns / 1_000_000_000).unwrap();
            let nanos = u32::try_from(ns % 1_000_000_000).unwrap();
            let at = chrono::DateTime::from_timestamp(seconds, nanos).unwrap();
            let written = at.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
            assert_eq!(DateTime(ns).to_string(), written);
            ns = next;
        }
    }

    #[test]
    fn offsets_and_times_outside_of_the_range_are_taken() {
        let parse = |text: &str| DateTime::parse(Value::String(text.into())).unwrap().0;
        assert_eq!(parse("1970-01-01T01:00:01+01:00"), 1_000_000_000);
        assert_eq!(parse("1969-12-31T23:59:59Z"), 0);
        assert_eq!(parse("9999-01-01T00:00:00Z"), u64::MAX);
        assert!(DateTime::parse(Value::String("yesterday".into())).is_err());
    }
}
