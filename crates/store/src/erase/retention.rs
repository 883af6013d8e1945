//! Applies rules of retention, a batch at a time.

use sqlx::PgConnection;
use wire::{Generation, PayloadKind, Verifier};

use super::{BATCH, Erased, Rule};
use crate::{database::Store, error::Result, time};

impl Store {
    /// Erases what the rules cover at this time (nanoseconds since 1970): a batch for each rule. Returns what it erased;
    /// nothing when nothing is left to do, or while projections are being built again, which an erasure would begin anew.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn retain(&self, rules: &[Rule], now_ns: u64) -> Result<Erased> {
        let mut erased = Erased::default();
        if self.watermarks().await?.iter().any(|mark| mark.rebuild.is_some()) {
            tracing::info!("retention waits until projections have been rebuilt");
            return Ok(erased);
        }
        let verifier = Verifier::new(1_024);
        for rule in rules {
            let age = u64::try_from(rule.older_than.as_nanos()).unwrap_or(u64::MAX);
            let before = time::to_db(now_ns.saturating_sub(age));
            let mut connection = self.connection().await?;
            let mut state = State::load(&mut connection, rule).await?;
            // With a higher age, or after a clock that was ahead, less is too old than before.
            state.upto_ns = state.upto_ns.min(before);
            let mut found = state.aged(&mut connection, rule, before).await?;
            found.extend(state.late(&mut connection, rule).await?);
            drop(connection);
            found.sort_unstable();
            found.dedup();
            let mut rest = found.as_slice();
            while !rest.is_empty() {
                let (some, upto) = self.erase_batch(rest, "retention", &verifier).await?;
                erased += some;
                rest = rest
                    .get(rest.partition_point(|position| *position <= upto)..)
                    .unwrap_or_default();
            }
            // Only now: what was found and not erased is found again.
            state.save(&mut *self.connection().await?, rule).await?;
        }
        Ok(erased)
    }
}

/// How far a rule has been applied, so that no envelope is looked at twice.
struct State {
    /// Among the first `position` envelopes, those of before this time.
    upto_ns: i64,
    position: i64,
}

/// What distinguishes rules. Not their age: with another age the same envelopes have been examined.
fn name(rule: &Rule) -> String {
    let kinds = rule.kinds.as_ref().map(|all| all.iter().map(|one| one.code()).collect::<Vec<_>>());
    let generations =
        rule.generations.as_ref().map(|all| all.iter().map(|one| one.code()).collect::<Vec<_>>());
    format!("kinds {kinds:?} generations {generations:?}")
}

fn codes<T: Copy>(all: &Option<Vec<T>>, code: fn(T) -> i16) -> Option<Vec<i16>> {
    all.as_ref().map(|all| all.iter().map(|one| code(*one)).collect())
}

impl State {
    async fn load(connection: &mut PgConnection, rule: &Rule) -> Result<State> {
        let state = sqlx::query_as!(
            State,
            "select upto_ns, position from ground.retention where rule = $1",
            name(rule)
        )
        .fetch_optional(connection)
        .await?;
        Ok(state.unwrap_or(State { upto_ns: i64::MIN, position: 0 }))
    }

    async fn save(&self, connection: &mut PgConnection, rule: &Rule) -> Result<()> {
        sqlx::query!(
            "insert into ground.retention (rule, upto_ns, position) values ($1, $2, $3)
             on conflict (rule) do update set upto_ns = excluded.upto_ns, position = excluded.position",
            name(rule),
            self.upto_ns,
            self.position
        )
        .execute(connection)
        .await?;
        Ok(())
    }

    /// Envelopes that have become too old, the oldest first.
    async fn aged(
        &mut self,
        connection: &mut PgConnection,
        rule: &Rule,
        before: i64,
    ) -> Result<Vec<i64>> {
        let found = sqlx::query!(
            "select position, timestamp_ns from derived.envelopes
              where timestamp_ns >= $1 and timestamp_ns < $2 and not erased
                and ($3::smallint[] is null or kind = any($3)) and ($4::smallint[] is null or generation = any($4))
              order by timestamp_ns, position limit $5",
            self.upto_ns,
            before,
            codes(&rule.kinds, PayloadKind::code) as Option<Vec<i16>>,
            codes(&rule.generations, Generation::code) as Option<Vec<i16>>,
            BATCH
        )
        .fetch_all(connection)
        .await?;
        let full = i64::try_from(found.len()).unwrap_or(i64::MAX) == BATCH;
        let last = found.last().map(|row| row.timestamp_ns).filter(|_| full);
        self.upto_ns = self.upto_ns.max(last.unwrap_or(before));
        Ok(found.into_iter().map(|row| row.position).collect())
    }

    /// Envelopes that were too old already when they came.
    async fn late(&mut self, connection: &mut PgConnection, rule: &Rule) -> Result<Vec<i64>> {
        // Of the rows that are looked at, and not of what is served: they may be behind.
        let read =
            sqlx::query_scalar!("select position from derived.watermarks where name = 'envelopes'")
                .fetch_optional(&mut *connection)
                .await?
                .unwrap_or_default();
        let found = sqlx::query_scalar!(
            "select position from derived.envelopes
              where position > $1 and position <= $2 and timestamp_ns < $3 and not erased
                and ($4::smallint[] is null or kind = any($4)) and ($5::smallint[] is null or generation = any($5))
              order by position limit $6",
            self.position,
            read,
            self.upto_ns,
            codes(&rule.kinds, PayloadKind::code) as Option<Vec<i16>>,
            codes(&rule.generations, Generation::code) as Option<Vec<i16>>,
            BATCH
        )
        .fetch_all(connection)
        .await?;
        let full = i64::try_from(found.len()).unwrap_or(i64::MAX) == BATCH;
        self.position = found.last().copied().filter(|_| full).unwrap_or(read);
        Ok(found)
    }
}
