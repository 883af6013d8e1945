//! State of the sweep and the crawl: the topics and wallets to query, and the progress of discovery.

use bytes::Bytes;
use sqlx::PgConnection;
use wire::{Address, TopicKind};

use crate::{
    database::Store,
    error::{Error, Result},
    log::Position,
};

/// A topic that the crawl has not read completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrawlTopic {
    /// Its exact name.
    pub topic: String,
    /// Steps from a seed.
    pub depth: i32,
    /// The last row read, encoded by the source; none at the beginning.
    pub cursor: Option<Bytes>,
    /// Envelopes read from it so far.
    pub envelopes: i64,
}

/// A topic that the crawl is to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCrawlTopic {
    /// Its exact name.
    pub topic: String,
    /// Steps from a seed.
    pub depth: i32,
    /// True for the second spelling of a name.
    pub lower_case: bool,
}

/// The part of one response of a node that belongs to one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrawlStep {
    /// The topic's name.
    pub topic: String,
    /// Envelopes of it in the response.
    pub envelopes: i64,
    /// Genuine invitations to its owner in the response.
    pub invitations: i64,
    /// True when the topic exceeds the limit of one topic, so that it is read no further.
    pub cut_off: bool,
}

/// How far discovery has come, over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CrawlTotals {
    /// Wallets whose topics are on the list.
    pub accounts_visited: i64,
    /// Wallets that are known, and whose topics are not on the list yet.
    pub accounts_waiting: i64,
    /// Topics read completely.
    pub topics_done: i64,
    /// Topics that hold envelopes.
    pub topics_with_envelopes: i64,
    /// Topics that are still to be read.
    pub topics_waiting: i64,
    /// Topics that exceeded the limit of one topic.
    pub topics_cut_off: i64,
    /// Topics that the node refused.
    pub topics_refused: i64,
    /// Second spellings that were tried.
    pub lower_case_tried: i64,
    /// Second spellings that hold envelopes.
    pub lower_case_found: i64,
    /// Envelopes read.
    pub envelopes: i64,
    /// Genuine invitations. Each opens a conversation whose topic cannot be derived.
    pub invitations: i64,
}

fn address(bytes: Vec<u8>, table: &'static str) -> Result<Address> {
    <[u8; 20]>::try_from(bytes).map(Address::from).map_err(|bytes| Error::Contradiction {
        table,
        what: format!("an address of {} bytes", bytes.len()),
    })
}

fn codes(kinds: &[TopicKind]) -> Vec<i16> {
    kinds.iter().map(|kind| kind.code()).collect()
}

impl Store {
    /// Reads wallets that the index knows in the order of their addresses: `limit` of them after `after`.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn known_accounts(&self, after: Option<Address>, limit: i64) -> Result<Vec<Address>> {
        let after = after.map(|address| address.as_bytes().to_vec()).unwrap_or_default();
        let mut connection = self.connection().await?;
        let rows = sqlx::query_scalar!(
            "select address from derived.accounts where address > $1 order by address limit $2",
            after,
            limit,
        )
        .fetch_all(&mut *connection)
        .await?;
        rows.into_iter().map(|bytes| address(bytes, "derived.accounts")).collect()
    }

    /// Reads topics of these kinds in the order in which they became known, each with the position of its first envelope:
    /// `limit` of them after `after`.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn topics_first_seen(
        &self,
        after: Position,
        limit: i64,
        kinds: &[TopicKind],
    ) -> Result<Vec<(String, Position)>> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query!(
            "select name, first_position from derived.topic_names
              where first_position > $1 and kind = any($2)
              order by first_position limit $3",
            after.0,
            &codes(kinds),
            limit,
        )
        .fetch_all(&mut *connection)
        .await?;
        Ok(rows.into_iter().map(|row| (row.name, Position(row.first_position))).collect())
    }

    /// Adds seeds. Wallets and topics that are known already stay as they are.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn crawl_seed(&self, accounts: &[Address], topics: &[String]) -> Result<()> {
        let found: Vec<(Address, i32)> = accounts.iter().map(|account| (*account, 0)).collect();
        let topics: Vec<_> = topics
            .iter()
            .map(|topic| NewCrawlTopic { topic: topic.clone(), depth: 0, lower_case: false })
            .collect();
        let mut tx = self.begin().await?;
        insert_accounts(&mut tx, &found).await?;
        insert_topics(&mut tx, &topics).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Reads the wallets that are next: nearest to the seeds first, at most `max_depth` steps away.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn crawl_next_accounts(
        &self,
        limit: i64,
        max_depth: i32,
    ) -> Result<Vec<(Address, i32)>> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query!(
            "select address, depth from ground.crawl_accounts
              where not visited and depth <= $2 order by depth, address limit $1",
            limit,
            max_depth,
        )
        .fetch_all(&mut *connection)
        .await?;
        rows.into_iter()
            .map(|row| Ok((address(row.address, "ground.crawl_accounts")?, row.depth)))
            .collect()
    }

    /// Adds the topics of these wallets to the list, and marks the wallets as visited.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn crawl_visit(&self, accounts: &[Address], topics: &[NewCrawlTopic]) -> Result<()> {
        let addresses: Vec<&[u8]> =
            accounts.iter().map(|account| account.as_bytes().as_slice()).collect();
        let mut tx = self.begin().await?;
        insert_topics(&mut tx, topics).await?;
        sqlx::query!(
            "update ground.crawl_accounts set visited = true where address = any($1)",
            &addresses as &[&[u8]],
        )
        .execute(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Reads the topics that are next: up to `limit` that stand at the same cursor, so that one query can continue all of
    /// them.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn crawl_next_topics(&self, limit: i64) -> Result<Vec<CrawlTopic>> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query!(
            r#"with waiting as (
                   select topic, depth, cursor, envelopes from ground.crawl_topics
                    where not done and not cut_off and refused is null
                    order by depth, cursor nulls first, topic limit $1),
               first as (select depth, cursor from waiting limit 1)
               select w.topic as "topic!", w.depth as "depth!", w.cursor as "cursor?", w.envelopes as "envelopes!"
                 from waiting w, first f
                where w.depth = f.depth and w.cursor is not distinct from f.cursor"#,
            limit,
        )
        .fetch_all(&mut *connection)
        .await?;
        Ok(rows
            .into_iter()
            .map(|row| CrawlTopic {
                topic: row.topic,
                depth: row.depth,
                cursor: row.cursor.map(Bytes::from),
                envelopes: row.envelopes,
            })
            .collect())
    }

    /// Moves topics on to `cursor`, or marks them as done when there is none, and stores the wallets and topics that the
    /// response named. Both happen in one transaction, so that a crash loses neither.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn crawl_step(
        &self,
        steps: &[CrawlStep],
        cursor: Option<&[u8]>,
        accounts: &[(Address, i32)],
        topics: &[NewCrawlTopic],
    ) -> Result<()> {
        let names: Vec<&str> = steps.iter().map(|step| step.topic.as_str()).collect();
        let envelopes: Vec<i64> = steps.iter().map(|step| step.envelopes).collect();
        let invitations: Vec<i64> = steps.iter().map(|step| step.invitations).collect();
        let cut_off: Vec<bool> = steps.iter().map(|step| step.cut_off).collect();
        let mut tx = self.begin().await?;
        sqlx::query!(
            "update ground.crawl_topics t
                set envelopes = t.envelopes + s.envelopes, invitations = t.invitations + s.invitations,
                    cursor = coalesce($5, t.cursor), done = $5::bytea is null, cut_off = s.cut_off and $5::bytea is not null
               from unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[])
                    as s (topic, envelopes, invitations, cut_off)
              where t.topic = s.topic",
            &names as &[&str],
            &envelopes,
            &invitations,
            &cut_off,
            cursor,
        )
        .execute(&mut *tx)
        .await?;
        insert_accounts(&mut tx, accounts).await?;
        insert_topics(&mut tx, topics).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Marks a topic that the node refused, with the node's reason.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn crawl_refused(&self, topic: &str, reason: &str) -> Result<()> {
        let mut connection = self.connection().await?;
        sqlx::query!(
            "update ground.crawl_topics set refused = $2 where topic = $1",
            topic,
            reason,
        )
        .execute(&mut *connection)
        .await?;
        Ok(())
    }

    /// Puts topics that were cut off or refused back on the list, for a run with a larger limit; returns how many.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn crawl_reopen(&self) -> Result<u64> {
        let mut connection = self.connection().await?;
        Ok(sqlx::query!(
            "update ground.crawl_topics set cut_off = false, refused = null where cut_off or refused is not null",
        )
        .execute(&mut *connection)
        .await?
        .rows_affected())
    }

    /// Counts how far discovery has come.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn crawl_totals(&self) -> Result<CrawlTotals> {
        let mut connection = self.connection().await?;
        Ok(sqlx::query_as!(
            CrawlTotals,
            r#"select a.visited as "accounts_visited!", a.waiting as "accounts_waiting!", t.done as "topics_done!",
                      t.found as "topics_with_envelopes!", t.waiting as "topics_waiting!", t.cut_off as "topics_cut_off!",
                      t.refused as "topics_refused!", t.lower_tried as "lower_case_tried!",
                      t.lower_found as "lower_case_found!", t.envelopes as "envelopes!", t.invitations as "invitations!"
                 from (select count(*) filter (where visited) as visited, count(*) filter (where not visited) as waiting
                         from ground.crawl_accounts) a,
                      (select count(*) filter (where done) as done, count(*) filter (where envelopes > 0) as found,
                              count(*) filter (where not done and not cut_off and refused is null) as waiting,
                              count(*) filter (where cut_off) as cut_off,
                              count(*) filter (where refused is not null) as refused,
                              count(*) filter (where lower_case and done) as lower_tried,
                              count(*) filter (where lower_case and envelopes > 0) as lower_found,
                              coalesce(sum(envelopes), 0)::bigint as envelopes,
                              coalesce(sum(invitations), 0)::bigint as invitations
                         from ground.crawl_topics) t"#,
        )
        .fetch_one(&mut *connection)
        .await?)
    }
}

async fn insert_accounts(connection: &mut PgConnection, accounts: &[(Address, i32)]) -> Result<()> {
    if accounts.is_empty() {
        return Ok(());
    }
    let addresses: Vec<&[u8]> =
        accounts.iter().map(|(account, _)| account.as_bytes().as_slice()).collect();
    let depths: Vec<i32> = accounts.iter().map(|(_, depth)| *depth).collect();
    sqlx::query!(
        "insert into ground.crawl_accounts (address, depth)
         select address, min(depth) from unnest($1::bytea[], $2::integer[]) as t (address, depth)
          group by address order by address
         on conflict do nothing",
        &addresses as &[&[u8]],
        &depths,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn insert_topics(connection: &mut PgConnection, topics: &[NewCrawlTopic]) -> Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = topics.iter().map(|topic| topic.topic.as_str()).collect();
    let depths: Vec<i32> = topics.iter().map(|topic| topic.depth).collect();
    let lower: Vec<bool> = topics.iter().map(|topic| topic.lower_case).collect();
    sqlx::query!(
        "insert into ground.crawl_topics (topic, depth, lower_case)
         select topic, min(depth), bool_and(lower_case)
           from unnest($1::text[], $2::integer[], $3::boolean[]) as t (topic, depth, lower_case)
          group by topic order by topic
         on conflict do nothing",
        &names as &[&str],
        &depths,
        &lower,
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests;
