use async_graphql::{Description, InputValueError, InputValueResult, Scalar, ScalarType, Value};
use chrono::{SecondsFormat, TimeZone as _, Utc};

/// A point in time: RFC 3339 in UTC with nanoseconds, such as 2024-01-31T23:59:59.123456789Z. Any offset and precision
/// is taken on input; what lies outside of 1970 to 2554 is taken as the nearest instant within.
#[derive(Description, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DateTime(pub(crate) u64);

impl From<chrono::DateTime<Utc>> for DateTime {
    fn from(at: chrono::DateTime<Utc>) -> Self {
        DateTime(store::time::from_datetime(at))
    }
}

impl std::fmt::Display for DateTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SECOND: u64 = 1_000_000_000;
        // Every u64 lies within what chrono can hold.
        let seconds = i64::try_from(self.0 / SECOND).unwrap_or(i64::MAX);
        let nanos = u32::try_from(self.0 % SECOND).unwrap_or(0);
        match Utc.timestamp_opt(seconds, nanos).single() {
            Some(at) => f.write_str(&at.to_rfc3339_opts(SecondsFormat::Nanos, true)),
            None => write!(f, "{}", self.0),
        }
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
    fn offsets_and_times_outside_of_the_range_are_taken() {
        let parse = |text: &str| DateTime::parse(Value::String(text.into())).unwrap().0;
        assert_eq!(parse("1970-01-01T01:00:01+01:00"), 1_000_000_000);
        assert_eq!(parse("1969-12-31T23:59:59Z"), 0);
        assert_eq!(parse("9999-01-01T00:00:00Z"), u64::MAX);
        assert!(DateTime::parse(Value::String("yesterday".into())).is_err());
    }
}
