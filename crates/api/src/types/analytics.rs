use async_graphql::{Context, Description, Enum, Object, Result, SimpleObject};
use store::read::{self, Split, VolumeFilter, Width};
use tokio::sync::OnceCell;
use wire::{Generation, PayloadKind, TopicKind};

use super::filters::EnvelopeFilter;
use crate::{
    error::Trouble,
    scalars::{DateTime, UInt64},
    scope::asked,
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

/// Figures about the index, exact as of the head that the answer speaks at.
#[derive(Default, Description)]
pub(crate) struct Analytics;

#[Object(use_type_description = true)]
impl Analytics {
    /// How many there are of everything.
    async fn totals(&self) -> Totals {
        Totals::default()
    }

    /// Envelopes and bytes per bucket of the envelopes' own time; `by` splits the series. Buckets that hold nothing are
    /// in it. The first bucket is the one that holds `from`, the last the one before `to`.
    async fn volume(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "From this time on.")] from: DateTime,
        #[graphql(desc = "Before this time.")] to: DateTime,
        #[graphql(desc = "How wide buckets are; at most 5,000 of them.")] interval: Interval,
        #[graphql(desc = "How the series is split; not at all by default.")] by: Option<VolumeBy>,
        #[graphql(desc = "Only these: kinds, topicKinds and generations can be told apart here.")]
        filter: Option<EnvelopeFilter>,
    ) -> Result<Vec<VolumeSeries>> {
        let width = Width::from(interval);
        let first = width.bucket(from.0);
        let end = width.bucket(to.0.saturating_sub(1)) + 1;
        if to.0 <= from.0 {
            return Err(Trouble::input("`to` must be later than `from`").into());
        }
        if end - first > POINTS {
            let points = end - first;
            let message = format!(
                "{points} buckets are more than {POINTS}: take a wider interval or a shorter time"
            );
            return Err(Trouble::input(message).into());
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
            VolumeBy::Generation => (Split::Generation, |code| {
                word(Generation::from_code(code).map(Generation::as_str))
            }),
        };
        let filter = coarse(filter.unwrap_or_default())?;
        let scope = &asked(ctx)?.scope;
        let rows = scope.told(
            scope.snapshot_for_list().await?.volume(width, first, end, split, &filter).await,
        )?;
        Ok(series(width, first, end, &rows, name))
    }
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
#[derive(SimpleObject)]
pub(crate) struct VolumeSeries {
    /// What it is of: a kind, a generation, or ALL.
    key: String,
    /// Its points, by time.
    points: Vec<VolumePoint>,
}

/// One bucket.
#[derive(SimpleObject)]
pub(crate) struct VolumePoint {
    /// When the bucket begins.
    at: DateTime,
    /// Envelopes in it.
    envelopes: UInt64,
    /// Bytes of their messages.
    bytes: UInt64,
}

/// How many there are of everything. Asked for once, whatever number of fields.
#[derive(Default, Description)]
pub(crate) struct Totals {
    rows: OnceCell<read::Totals>,
}

impl Totals {
    async fn rows(&self, ctx: &Context<'_>) -> Result<&read::Totals> {
        self.rows
            .get_or_try_init(|| async {
                let scope = &asked(ctx)?.scope;
                Ok(scope.told(scope.snapshot().await?.totals().await)?)
            })
            .await
    }
}

#[Object(use_type_description = true)]
impl Totals {
    /// Envelopes that a reader may see.
    async fn envelopes(&self, ctx: &Context<'_>) -> Result<UInt64> {
        let head = asked(ctx)?.scope.snapshot().await?.head();
        Ok(UInt64(u64::try_from(head.0).unwrap_or(0)))
    }

    /// Bytes of their messages.
    async fn bytes(&self, ctx: &Context<'_>) -> Result<UInt64> {
        Ok(UInt64(self.rows(ctx).await?.bytes))
    }

    /// Topics that anything was published on.
    async fn topics(&self, ctx: &Context<'_>) -> Result<UInt64> {
        Ok(UInt64(self.rows(ctx).await?.topics))
    }

    /// Wallets.
    async fn accounts(&self, ctx: &Context<'_>) -> Result<UInt64> {
        Ok(UInt64(self.rows(ctx).await?.accounts))
    }

    /// Publications of keys.
    async fn contact_bundles(&self, ctx: &Context<'_>) -> Result<UInt64> {
        Ok(UInt64(self.rows(ctx).await?.contact_bundles))
    }

    /// Invitations.
    async fn invites(&self, ctx: &Context<'_>) -> Result<UInt64> {
        Ok(UInt64(self.rows(ctx).await?.invites))
    }

    /// Conversations.
    async fn conversations(&self, ctx: &Context<'_>) -> Result<UInt64> {
        Ok(UInt64(self.rows(ctx).await?.conversations))
    }
}
