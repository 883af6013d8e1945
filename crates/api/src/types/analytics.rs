use async_graphql::{Enum, InputObject};
use store::read::{self, Split, VolumeFilter, Width};
use wire::{Generation, PayloadKind, TopicKind};

use super::filters::EnvelopeFilter;
use crate::{
    error::{Code, Trouble},
    exec::{Call, Statements, Table, arguments, object},
    scalars::{DateTime, UInt64},
};

/// Points of one series, at most.
const POINTS: u64 = 5_000;

/// How wide a bucket is.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval {
    /// One minute.
    Minute,
    /// One hour.
    Hour,
    /// One day, from midnight UTC.
    Day,
    /// One week, from Monday UTC.
    Week,
}

impl From<Interval> for Width {
    fn from(interval: Interval) -> Width {
        match interval {
            Interval::Minute => Width::Minute,
            Interval::Hour => Width::Hour,
            Interval::Day => Width::Day,
            Interval::Week => Width::Week,
        }
    }
}

/// By what a series is split.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VolumeBy {
    /// Not at all: one series.
    None,
    /// By what envelopes hold.
    Kind,
    /// By generation of the network.
    Generation,
    /// By what topics are for.
    TopicKind,
    /// By originator: V4 only, so everything indexed today is one series.
    Originator,
}

/// Figures about the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Analytics;

object!(
    Analytics,
    Table::new("Analytics", "Figures about the index, exact as of the head that the answer speaks at.")
        .load("totals", "How many there are of everything.", Statements::of(1), totals)
        .load(
            "volume",
            "Envelopes and bytes per bucket of the envelopes' own time; `by` splits the series. Buckets that hold \
             nothing are in it. The first bucket is the one that holds `from`, the last the one before `to`.",
            Statements::of(1),
            volume
        )
);

/// Which volume.
#[derive(InputObject)]
struct VolumeArguments {
    /// From this time on.
    from: DateTime,
    /// Before this time.
    to: DateTime,
    /// How wide buckets are; at most 5,000 of them.
    interval: Interval,
    /// How the series is split; not at all by default.
    by: Option<VolumeBy>,
    /// Only these: kinds, topicKinds and generations can be told apart here.
    filter: Option<EnvelopeFilter>,
}
arguments!(VolumeArguments);

async fn volume(
    call: Call<'_>,
    _: &[Analytics],
    asked: VolumeArguments,
) -> Result<Vec<Vec<VolumeSeries>>, Trouble> {
    let VolumeArguments { from, to, interval, by, filter } = asked;
    let width = Width::from(interval);
    let first = width.bucket(from.0);
    let end = width.bucket(to.0.saturating_sub(1)) + 1;
    if to.0 <= from.0 {
        return Err(Trouble::input("`to` must be later than `from`"));
    }
    if end - first > POINTS {
        let points = end - first;
        let message = format!(
            "{points} buckets are more than {POINTS}: take a wider interval or a shorter time"
        );
        return Err(Trouble::over(Code::BadUserInput, message, POINTS, points));
    }
    let (split, name): (Split, fn(i16) -> String) = match by.unwrap_or(VolumeBy::None) {
        VolumeBy::None => (Split::None, |_| "ALL".into()),
        VolumeBy::Originator => (Split::None, |_| "NONE".into()),
        VolumeBy::Kind => {
            (Split::Kind, |code| word(PayloadKind::from_code(code).map(PayloadKind::as_str)))
        }
        VolumeBy::TopicKind => {
            (Split::TopicKind, |code| word(TopicKind::from_code(code).map(TopicKind::as_str)))
        }
        VolumeBy::Generation => {
            (Split::Generation, |code| word(Generation::from_code(code).map(Generation::as_str)))
        }
    };
    let filter = coarse(filter.unwrap_or_default())?;
    let scope = call.scope();
    let rows = scope.snapshot().await?.volume(width, first, end, split, &filter).await;
    Ok(vec![series(width, first, end, &scope.told(rows)?, name)])
}

fn word(known: Option<&str>) -> String {
    known.unwrap_or("UNKNOWN").to_owned()
}

/// The part of a filter that the rollup can answer.
fn coarse(filter: EnvelopeFilter) -> Result<VolumeFilter, Trouble> {
    let read::EnvelopeFilter { topics, topic_kinds, kinds, generations, account, after, before } =
        filter.try_into()?;
    if topics.is_some() || account.is_some() || after.is_some() || before.is_some() {
        return Err(Trouble::input(
            "volume can be narrowed by kinds, topicKinds and generations; its time is given by `from` and `to`",
        ));
    }
    Ok(VolumeFilter { kinds, topic_kinds, generations })
}

/// Rows by series and time, with what is empty filled in.
fn series(
    width: Width,
    first: u64,
    end: u64,
    rows: &[read::Volume],
    name: fn(i16) -> String,
) -> Vec<VolumeSeries> {
    rows.chunk_by(|a, b| a.key == b.key)
        .filter_map(|rows| Some((rows.first()?.key, rows)))
        .map(|(key, rows)| {
            let mut rows = rows.iter().peekable();
            let points = (first..end)
                .map(|bucket| {
                    let row = rows.next_if(|row| row.bucket == bucket);
                    VolumePoint {
                        at: DateTime(width.begins(bucket)),
                        envelopes: UInt64(row.map_or(0, |row| row.envelopes)),
                        bytes: UInt64(row.map_or(0, |row| row.bytes)),
                    }
                })
                .collect();
            VolumeSeries { key: name(key), points }
        })
        .collect()
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct VolumeSeries {
    key: String,
    points: Vec<VolumePoint>,
}

object!(
    VolumeSeries,
    Table::new("VolumeSeries", "One line of a chart.")
        .leaf("key", "What it is of: a kind, a generation, or ALL.", |series: &VolumeSeries| {
            series.key.clone()
        })
        .inline("points", "Its points, by time.", |series| series.points.clone())
);

/// One bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VolumePoint {
    at: DateTime,
    envelopes: UInt64,
    bytes: UInt64,
}

object!(
    VolumePoint,
    Table::new("VolumePoint", "One bucket.")
        .leaf("at", "When the bucket begins.", |point: &VolumePoint| point.at)
        .leaf("envelopes", "Envelopes in it.", |point| point.envelopes)
        .leaf("bytes", "Bytes of their messages.", |point| point.bytes)
);

/// How many there are of everything.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    rows: read::Totals,
}

async fn totals(call: Call<'_>, _: &[Analytics], _: ()) -> Result<Vec<Totals>, Trouble> {
    let scope = call.scope();
    let rows = scope.told(scope.snapshot().await?.totals().await)?;
    Ok(vec![Totals { rows }])
}

object!(
    Totals,
    Table::new("Totals", "How many there are of everything.")
        .leaf("envelopes", "Envelopes that a reader may see.", |totals: &Totals| {
            UInt64(totals.rows.envelopes)
        })
        .leaf("bytes", "Bytes of their messages.", |totals| UInt64(totals.rows.bytes))
        .leaf("topics", "Topics that anything was published on.", |totals| {
            UInt64(totals.rows.topics)
        })
        .leaf("accounts", "Wallets.", |totals| UInt64(totals.rows.accounts))
        .leaf("contactBundles", "Publications of keys.", |totals| {
            UInt64(totals.rows.contact_bundles)
        })
        .leaf("invites", "Invitations.", |totals| UInt64(totals.rows.invites))
        .leaf("conversations", "Conversations.", |totals| UInt64(totals.rows.conversations))
        .leaf("welcomes", "Welcomes.", |totals| UInt64(totals.rows.welcomes))
);
