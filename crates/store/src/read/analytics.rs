//! Volume over time and totals: from rollups, exact as of the snapshot.

use wire::{Generation, PayloadKind, TopicKind};

use super::{row::Columns, snapshot::Snapshot, statement::Filter};
use crate::error::Result;

/// The width of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day, from midnight UTC.
    Day,
    /// One week, from Monday UTC.
    Week,
}

impl Width {
    /// Nanoseconds of one bucket.
    #[must_use]
    pub fn ns(self) -> u64 {
        const MINUTE: u64 = 60_000_000_000;
        match self {
            Width::Minute => MINUTE,
            Width::Hour => 60 * MINUTE,
            Width::Day => 24 * 60 * MINUTE,
            Width::Week => 7 * 24 * 60 * MINUTE,
        }
    }

    /// The time from the beginning of the first bucket to 1970, which began on a Thursday.
    fn lead_ns(self) -> u64 {
        if self == Width::Week { 3 * Width::Day.ns() } else { 0 }
    }

    /// The number of the bucket that a time lies in.
    #[must_use]
    pub fn bucket(self, ns: u64) -> u64 {
        (u128::from(ns) + u128::from(self.lead_ns()))
            .checked_div(u128::from(self.ns()))
            .and_then(|bucket| u64::try_from(bucket).ok())
            .unwrap_or(0)
    }

    /// The time at which a bucket begins; 1970 for the one that began before.
    #[must_use]
    pub fn begins(self, bucket: u64) -> u64 {
        bucket.saturating_mul(self.ns()).saturating_sub(self.lead_ns())
    }
}

/// What a series is split by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Not at all.
    None,
    /// By payload kind.
    Kind,
    /// By topic kind.
    TopicKind,
    /// By generation.
    Generation,
}

/// What is counted; empty lists count everything.
#[derive(Clone, Debug, Default)]
pub struct VolumeFilter {
    /// Holding one of these.
    pub kinds: Option<Vec<PayloadKind>>,
    /// On topics of one of these kinds.
    pub topic_kinds: Option<Vec<TopicKind>>,
    /// Of one of these generations.
    pub generations: Option<Vec<Generation>>,
}

/// One bucket of one series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Volume {
    /// The code of what the series is split by; 0 when it is not.
    pub key: i16,
    /// The bucket's number, see [`Width::bucket`].
    pub bucket: u64,
    /// Envelopes.
    pub envelopes: u64,
    /// Bytes of their messages.
    pub bytes: u64,
}

/// The numbers of rows of all kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Envelopes.
    pub envelopes: u64,
    /// Bytes of all messages.
    pub bytes: u64,
    /// Topics.
    pub topics: u64,
    /// Accounts.
    pub accounts: u64,
    /// Contact bundles.
    pub contact_bundles: u64,
    /// Invitations.
    pub invites: u64,
    /// Conversations.
    pub conversations: u64,
    /// Welcomes.
    pub welcomes: u64,
}

impl Split {
    /// The code of the series.
    fn key(self) -> &'static str {
        match self {
            Split::None => "0::smallint",
            Split::Kind => "kind",
            Split::TopicKind => "topic_kind",
            Split::Generation => "generation",
        }
    }
}

impl Snapshot {
    /// Envelopes and bytes of the buckets from `first` up to and without `end`, by series and time. Buckets that hold nothing
    /// are left out.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn volume(
        &self,
        width: Width,
        first: u64,
        end: u64,
        split: Split,
        filter: &VolumeFilter,
    ) -> Result<Vec<Volume>> {
        // Rows of the rollup are few: minutes or hours, times kinds. Its key begins with the time.
        let (unit, table, from, to) = match width {
            Width::Minute => ("minute", "derived.volume_minutes", "minute >= ?", "minute < ?"),
            _ => ("hour", "derived.volume_hours", "hour >= ?", "hour < ?"),
        };
        let unit_ns = if width == Width::Minute { width.ns() } else { Width::Hour.ns() };
        let units = |ns: u64| i32::try_from(ns / unit_ns).unwrap_or(i32::MAX);
        let mut conditions = Filter::default();
        conditions.and(from, units(width.begins(first)));
        conditions.and(to, units(width.begins(end)));
        let codes = filter.kinds.as_ref().map(|all| all.iter().map(|one| one.code()).collect());
        conditions.and_if::<Vec<i16>>("kind = any(?)", codes);
        let codes =
            filter.topic_kinds.as_ref().map(|all| all.iter().map(|one| one.code()).collect());
        conditions.and_if::<Vec<i16>>("topic_kind = any(?)", codes);
        let codes =
            filter.generations.as_ref().map(|all| all.iter().map(|one| one.code()).collect());
        conditions.and_if::<Vec<i16>>("generation = any(?)", codes);
        let (key, lead, each) = (split.key(), units(width.lead_ns()), units(width.ns()));
        let statement = conditions.statement(|conditions| {
            format!(
                "select {key} as key, ({unit} + {lead}) / {each} as bucket, sum(envelopes)::bigint, sum(bytes)::bigint
                   from {table} where {conditions} group by 1, 2 order by 1, 2"
            )
        });
        let read = |mut columns: Columns<'_>| {
            Ok(Volume {
                key: columns.get()?,
                bucket: u64::try_from(columns.get::<i32>()?).unwrap_or(0),
                envelopes: columns.count()?,
                bytes: columns.count()?,
            })
        };
        self.rows(statement).await?.iter().map(read).collect()
    }

    /// The numbers of rows of all kinds.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn totals(&self) -> Result<Totals> {
        let rows = self
            .find(
                "select name, rows from derived.totals where part = ''
                 union all select 'bytes', coalesce(sum(bytes), 0)::bigint from derived.volume_hours
                 union all select 'envelopes', position from derived.watermarks where name = 'envelopes'",
                Vec::new(),
                |columns| Ok((columns.get::<String>()?, columns.count()?)),
            )
            .await?;
        let of = |name: &str| {
            let found = rows.iter().find(|(known, _)| known == name);
            found.map_or(0, |(_, rows)| *rows)
        };
        Ok(Totals {
            envelopes: of("envelopes"),
            bytes: of("bytes"),
            topics: of("topics"),
            accounts: of("accounts"),
            contact_bundles: of("contact_bundles"),
            invites: of("invites"),
            conversations: of("conversations"),
            welcomes: of("welcomes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_begin_on_mondays_and_every_time_has_a_bucket() {
        // 2024-01-31 was a Wednesday; its week began on 2024-01-29.
        let wednesday = 1_706_659_200_000_000_000;
        let monday = 1_706_486_400_000_000_000;
        assert_eq!(Width::Week.begins(Width::Week.bucket(wednesday)), monday);
        assert_eq!(Width::Week.begins(Width::Week.bucket(monday)), monday);
        for width in [Width::Minute, Width::Hour, Width::Day, Width::Week] {
            for ns in [0, 1, wednesday, u64::MAX] {
                let bucket = width.bucket(ns);
                assert!(width.begins(bucket) <= ns);
                assert!(width.begins(bucket + 1) > ns || ns == u64::MAX);
            }
        }
    }
}
