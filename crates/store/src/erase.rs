//! Erasure and retention: messages are taken out of the log and out of everything derived from them. What was counted stays
//! counted: a tombstone keeps the topic, time, size and kind of each, and the wallets that it named.
//!
//! The identity stays as well, so a copy that a source sends again does not come back.

mod batch;
mod find;
mod retention;

use std::time::Duration;

use sqlx::AssertSqlSafe;
use wire::{Address, Generation, PayloadKind, Verifier};

use crate::{database::Store, error::Result, log::Position};

/// Envelopes that one transaction erases at most.
pub(crate) const BATCH: i64 = 500;

/// Which envelopes are to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All on this topic, by its name.
    Topic(String),
    /// All on topics that name this wallet, and every copy of invitations and messages to and from it.
    Account(Address),
}

/// A rule of retention: what is older is erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Only these generations; None for all.
    pub generations: Option<Vec<Generation>>,
    /// Only these kinds of payloads; None for all.
    pub kinds: Option<Vec<PayloadKind>>,
    /// How old an envelope may become, by its own time.
    pub older_than: Duration,
}

/// What was erased, or with a dry run what would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Envelopes.
    pub envelopes: u64,
    /// Bytes of their messages.
    pub bytes: u64,
    /// Contact bundles among them.
    pub contact_bundles: u64,
    /// Copies of invitations among them.
    pub invites: u64,
    /// Copies of V1 and V2 messages among them.
    pub messages: u64,
    /// Welcomes among them.
    pub welcomes: u64,
}

impl std::ops::AddAssign for Erased {
    fn add_assign(&mut self, other: Erased) {
        self.envelopes += other.envelopes;
        self.bytes += other.bytes;
        self.contact_bundles += other.contact_bundles;
        self.invites += other.invites;
        self.messages += other.messages;
        self.welcomes += other.welcomes;
    }
}

impl Store {
    /// Erases envelopes in transactions of [`BATCH`], and frees their space. Readers are served meanwhile. With
    /// `dry_run` it only counts.
    ///
    /// Projections must have read the log up to where it is now: what they have not read cannot be found.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::Error::Refused) when a newer program has built a projection; when PostgreSQL fails.
    pub async fn erase(&self, scope: &Scope, dry_run: bool) -> Result<Erased> {
        let verifier = Verifier::new(1_024);
        let (mut erased, mut after) = (Erased::default(), Position(0));
        loop {
            let found = find::positions(&mut *self.connection().await?, scope, after).await?;
            let Some(last) = found.last() else { break };
            let mut rest = found.as_slice();
            let batch = usize::try_from(BATCH).unwrap_or(usize::MAX);
            while let Some(part) = rest.get(..rest.len().min(batch)).filter(|part| !part.is_empty())
            {
                let upto = match dry_run {
                    true => {
                        erased += batch::count(&mut *self.connection().await?, part).await?;
                        part.last().copied().unwrap_or(*last)
                    }
                    false => {
                        let (some, upto) = self.erase_batch(part, "erasure", &verifier).await?;
                        erased += some;
                        upto
                    }
                };
                rest = rest
                    .get(rest.partition_point(|position| *position <= upto)..)
                    .unwrap_or_default();
            }
            after = Position(*last);
        }
        if !dry_run {
            find::put_aside(&mut *self.connection().await?, scope).await?;
            // Also when nothing was left to erase: an earlier run may have been interrupted.
            self.reclaim().await?;
        }
        Ok(erased)
    }

    /// Takes dead rows out of the tables that held erased messages, so that no file holds them as rows any more.
    async fn reclaim(&self) -> Result<()> {
        let mut connection = self.own_connection().await?;
        let partitions = sqlx::query_scalar!(
            r#"select name from ground.partitions
                where dropped_at is null and erased_at is not null order by first"#
        )
        .fetch_all(&mut connection)
        .await?;
        let partitions = partitions.into_iter().map(|name| format!("ground.\"{name}\""));
        let derived = crate::projections::all();
        let derived = derived
            .iter()
            .flat_map(|projection| projection.tables())
            .map(|t| format!("derived.{t}"));
        for table in partitions.chain(derived) {
            let vacuum = AssertSqlSafe(format!("vacuum {table}"));
            sqlx::raw_sql(vacuum).execute(&mut connection).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
