//! What the sweep and the crawl know and remember: which topics and wallets there are to ask nodes about, and how far
//! discovery is.

use bytes::Bytes;
use tokio_postgres::Row;
use wire::{Address, TopicKind};

use crate::{
    database::Store,
    error::{Error, Result},
    log::Position,
};

/// A topic that the crawl has not read to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrawlTopic {
    /// Its exact name.
    pub topic: String,
    /// Steps from a seed.
    pub depth: i32,
    /// The last row read; the meaning belongs to the source.
    pub cursor: Option<Bytes>,
    /// Envelopes read from it so far.
    pub envelopes: i64,
}

/// A topic to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCrawlTopic {
    /// Its exact name.
    pub topic: String,
    /// Steps from a seed.
    pub depth: i32,
    /// Is it the second spelling of a name?
    pub lower_case: bool,
}

/// What one answer of a node gave for one topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CrawlStep {
    /// The topic's name.
    pub topic: String,
    /// Envelopes of it in the answer.
    pub envelopes: i64,
    /// Genuine invitations to its owner in the answer.
    pub invitations: i64,
    /// Enough of it: it is left where it is.
    pub cut_off: bool,
}

/// How far discovery is, over all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct CrawlTotals {
    /// Wallets whose topics were asked for.
    pub accounts_visited: i64,
    /// Wallets known and not asked for yet.
    pub accounts_waiting: i64,
    /// Topics read to their end.
    pub topics_done: i64,
    /// Topics that hold anything.
    pub topics_with_envelopes: i64,
    /// Topics not read to their end yet.
    pub topics_waiting: i64,
    /// Topics left where they were for being too large.
    pub topics_cut_off: i64,
    /// Topics that the node would not hear of.
    pub topics_refused: i64,
    /// Second spellings that were tried.
    pub lower_case_tried: i64,
    /// Second spellings that hold anything.
    pub lower_case_found: i64,
    /// Envelopes read.
    pub envelopes: i64,
    /// Genuine invitations: each opens a conversation whose topic nobody can derive.
    pub invitations: i64,
}

fn address(row: &Row, at: usize, table: &'static str) -> Result<Address> {
    let bytes: &[u8] = row.get(at);
    <[u8; 20]>::try_from(bytes).map(Address::from).map_err(|_| Error::Contradiction {
        table,
        what: format!("an address of {} bytes", bytes.len()),
    })
}

fn codes(kinds: &[TopicKind]) -> Vec<i16> {
    kinds.iter().map(|kind| kind.code()).collect()
}

impl Store {
    /// Wallets that the index knows, in the order of their addresses.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn known_accounts(&self, after: Option<Address>, limit: i64) -> Result<Vec<Address>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select address from derived.accounts where address > $1 order by address limit $2",
            )
            .await?;
        let after = after.map(|address| address.as_bytes().to_vec()).unwrap_or_default();
        let rows = client.query(&statement, &[&after, &limit]).await?;
        rows.iter().map(|row| address(row, 0, "derived.accounts")).collect()
    }

    /// Topics of these kinds in the order in which they became known, each with the position of its first envelope.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn topics_first_seen(
        &self,
        after: Position,
        limit: i64,
        kinds: &[TopicKind],
    ) -> Result<Vec<(String, Position)>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select name, first_position from derived.topics
                  where first_position > $1 and kind = any($2)
                  order by first_position limit $3",
            )
            .await?;
        let rows = client.query(&statement, &[&after.0, &codes(kinds), &limit]).await?;
        Ok(rows.iter().map(|row| (row.get(0), Position(row.get(1)))).collect())
    }

    /// Is the table of topics being built anew? It knows less meanwhile than it did.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn topics_rebuilding(&self) -> Result<bool> {
        Ok(self.watermarks().await?.iter().any(|mark| mark.name == "topics" && mark.rebuilding))
    }

    /// Adds seeds; what is known already stays as it is.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn crawl_seed(&self, accounts: &[Address], topics: &[String]) -> Result<()> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let found: Vec<(Address, i32)> = accounts.iter().map(|account| (*account, 0)).collect();
        let topics: Vec<_> = topics
            .iter()
            .map(|topic| NewCrawlTopic { topic: topic.clone(), depth: 0, lower_case: false })
            .collect();
        insert_accounts(&tx, &found).await?;
        insert_topics(&tx, &topics).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Wallets that are next: nearest to the seeds first, at most `max_depth` steps away.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn crawl_next_accounts(
        &self,
        limit: i64,
        max_depth: i32,
    ) -> Result<Vec<(Address, i32)>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "select address, depth from ground.crawl_accounts
                  where not visited and depth <= $2 order by depth, address limit $1",
            )
            .await?;
        let rows = client.query(&statement, &[&limit, &max_depth]).await?;
        rows.iter().map(|row| Ok((address(row, 0, "ground.crawl_accounts")?, row.get(1)))).collect()
    }

    /// Puts the topics of these wallets on the list, and the wallets off it.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn crawl_visit(&self, accounts: &[Address], topics: &[NewCrawlTopic]) -> Result<()> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        insert_topics(&tx, topics).await?;
        let addresses: Vec<&[u8]> =
            accounts.iter().map(|account| account.as_bytes().as_slice()).collect();
        tx.execute(
            "update ground.crawl_accounts set visited = true where address = any($1)",
            &[&addresses],
        )
        .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Topics that are next: up to `limit` that stand at the same cursor, so that one query can go on with all of them.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn crawl_next_topics(&self, limit: i64) -> Result<Vec<CrawlTopic>> {
        let client = self.client().await?;
        let statement = client
            .prepare_cached(
                "with waiting as (
                     select topic, depth, cursor, envelopes from ground.crawl_topics
                      where not done and not cut_off and refused is null
                      order by depth, cursor nulls first, topic limit $1),
                 first as (select depth, cursor from waiting limit 1)
                 select w.topic, w.depth, w.cursor, w.envelopes from waiting w, first f
                  where w.depth = f.depth and w.cursor is not distinct from f.cursor",
            )
            .await?;
        let rows = client.query(&statement, &[&limit]).await?;
        Ok(rows
            .iter()
            .map(|row| CrawlTopic {
                topic: row.get(0),
                depth: row.get(1),
                cursor: row.get::<_, Option<Vec<u8>>>(2).map(Bytes::from),
                envelopes: row.get(3),
            })
            .collect())
    }

    /// Moves topics on to `cursor`, or to their end when there is none, and remembers whom the answer named: together, so
    /// that a crash loses neither.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn crawl_step(
        &self,
        steps: &[CrawlStep],
        cursor: Option<&[u8]>,
        accounts: &[(Address, i32)],
        topics: &[NewCrawlTopic],
    ) -> Result<()> {
        let mut client = self.client().await?;
        let tx = client.transaction().await?;
        let names: Vec<&str> = steps.iter().map(|step| step.topic.as_str()).collect();
        let envelopes: Vec<i64> = steps.iter().map(|step| step.envelopes).collect();
        let invitations: Vec<i64> = steps.iter().map(|step| step.invitations).collect();
        let cut_off: Vec<bool> = steps.iter().map(|step| step.cut_off).collect();
        tx.execute(
            "update ground.crawl_topics t
                set envelopes = t.envelopes + s.envelopes, invitations = t.invitations + s.invitations,
                    cursor = coalesce($5, t.cursor), done = $5::bytea is null, cut_off = s.cut_off and $5::bytea is not null
               from unnest($1::text[], $2::bigint[], $3::bigint[], $4::boolean[])
                    as s (topic, envelopes, invitations, cut_off)
              where t.topic = s.topic",
            &[&names, &envelopes, &invitations, &cut_off, &cursor],
        )
        .await?;
        insert_accounts(&tx, accounts).await?;
        insert_topics(&tx, topics).await?;
        tx.commit().await?;
        Ok(())
    }

    /// The node will not hear of this topic.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn crawl_refused(&self, topic: &str, reason: &str) -> Result<()> {
        let client = self.client().await?;
        client
            .execute(
                "update ground.crawl_topics set refused = $2 where topic = $1",
                &[&topic, &reason],
            )
            .await?;
        Ok(())
    }

    /// Takes up again what was cut off or refused: for a run with a larger budget.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn crawl_reopen(&self) -> Result<u64> {
        let client = self.client().await?;
        Ok(client
            .execute(
                "update ground.crawl_topics set cut_off = false, refused = null where cut_off or refused is not null",
                &[],
            )
            .await?)
    }

    /// How far discovery is.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn crawl_totals(&self) -> Result<CrawlTotals> {
        let client = self.client().await?;
        let row = client
            .query_one(
                "select a.visited, a.waiting, t.* from
                   (select count(*) filter (where visited) as visited, count(*) filter (where not visited) as waiting
                      from ground.crawl_accounts) a,
                   (select count(*) filter (where done), count(*) filter (where envelopes > 0),
                           count(*) filter (where not done and not cut_off and refused is null),
                           count(*) filter (where cut_off), count(*) filter (where refused is not null),
                           count(*) filter (where lower_case and done),
                           count(*) filter (where lower_case and envelopes > 0),
                           coalesce(sum(envelopes), 0)::bigint, coalesce(sum(invitations), 0)::bigint
                      from ground.crawl_topics) t",
                &[],
            )
            .await?;
        Ok(CrawlTotals {
            accounts_visited: row.get(0),
            accounts_waiting: row.get(1),
            topics_done: row.get(2),
            topics_with_envelopes: row.get(3),
            topics_waiting: row.get(4),
            topics_cut_off: row.get(5),
            topics_refused: row.get(6),
            lower_case_tried: row.get(7),
            lower_case_found: row.get(8),
            envelopes: row.get(9),
            invitations: row.get(10),
        })
    }
}

type Tx<'a> = deadpool_postgres::Transaction<'a>;

async fn insert_accounts(tx: &Tx<'_>, accounts: &[(Address, i32)]) -> Result<()> {
    if accounts.is_empty() {
        return Ok(());
    }
    let addresses: Vec<&[u8]> =
        accounts.iter().map(|(account, _)| account.as_bytes().as_slice()).collect();
    let depths: Vec<i32> = accounts.iter().map(|(_, depth)| *depth).collect();
    tx.execute(
        "insert into ground.crawl_accounts (address, depth)
         select address, min(depth) from unnest($1::bytea[], $2::integer[]) as t (address, depth)
          group by address order by address
         on conflict do nothing",
        &[&addresses, &depths],
    )
    .await?;
    Ok(())
}

async fn insert_topics(tx: &Tx<'_>, topics: &[NewCrawlTopic]) -> Result<()> {
    if topics.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = topics.iter().map(|topic| topic.topic.as_str()).collect();
    let depths: Vec<i32> = topics.iter().map(|topic| topic.depth).collect();
    let lower: Vec<bool> = topics.iter().map(|topic| topic.lower_case).collect();
    tx.execute(
        "insert into ground.crawl_topics (topic, depth, lower_case)
         select topic, min(depth), bool_and(lower_case)
           from unnest($1::text[], $2::integer[], $3::boolean[]) as t (topic, depth, lower_case)
          group by topic order by topic
         on conflict do nothing",
        &[&names, &depths, &lower],
    )
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestDatabase;

    fn wallet(n: u8) -> Address {
        Address::from([n; 20])
    }

    fn new(topic: &str, depth: i32) -> NewCrawlTopic {
        NewCrawlTopic { topic: topic.into(), depth, lower_case: false }
    }

    #[tokio::test]
    async fn discovery_goes_outwards_and_resumes_where_it_was() {
        let db = TestDatabase::migrated().await;
        let store = &db.store;
        store.crawl_seed(&[wallet(1), wallet(1)], &["given".into()]).await.unwrap();
        assert_eq!(store.crawl_next_accounts(10, 9).await.unwrap(), [(wallet(1), 0)]);
        store.crawl_visit(&[wallet(1)], &[new("a", 0), new("b", 0)]).await.unwrap();
        assert!(store.crawl_next_accounts(10, 9).await.unwrap().is_empty());
        let names =
            |topics: Vec<CrawlTopic>| topics.into_iter().map(|t| t.topic).collect::<Vec<_>>();
        assert_eq!(names(store.crawl_next_topics(10).await.unwrap()), ["a", "b", "given"]);

        let step = |topic: &str, envelopes| CrawlStep {
            topic: topic.into(),
            envelopes,
            ..CrawlStep::default()
        };
        let found = [(wallet(2), 1), (wallet(1), 1)];
        store
            .crawl_step(&[step("a", 2), step("b", 3)], Some(b"c1"), &found, &[new("dm", 1)])
            .await
            .unwrap();
        // The one that stands elsewhere comes first, then the two that go on together.
        assert_eq!(names(store.crawl_next_topics(10).await.unwrap()), ["given"]);
        store.crawl_step(&[step("given", 0)], None, &[], &[]).await.unwrap();
        let next = store.crawl_next_topics(10).await.unwrap();
        assert_eq!(next[0].cursor.as_deref(), Some(b"c1".as_slice()));
        assert_eq!((next[0].envelopes, names(next)), (2, vec!["a".to_owned(), "b".to_owned()]));

        let cut = CrawlStep { cut_off: true, ..step("b", 1) };
        store.crawl_step(&[step("a", 1), cut], Some(b"c2"), &[], &[]).await.unwrap();
        assert_eq!(names(store.crawl_next_topics(10).await.unwrap()), ["a"]);
        store.crawl_step(&[step("a", 0)], None, &[], &[]).await.unwrap();
        store.crawl_refused("dm", "no").await.unwrap();
        assert_eq!(store.crawl_next_topics(10).await.unwrap(), []);
        assert_eq!(store.crawl_next_accounts(10, 0).await.unwrap(), []);
        assert_eq!(store.crawl_next_accounts(10, 1).await.unwrap(), [(wallet(2), 1)]);

        let totals = store.crawl_totals().await.unwrap();
        assert_eq!((totals.accounts_visited, totals.accounts_waiting), (1, 1));
        assert_eq!((totals.topics_done, totals.topics_cut_off, totals.topics_refused), (2, 1, 1));
        assert_eq!((totals.envelopes, totals.topics_waiting), (7, 0));
        assert_eq!(store.crawl_reopen().await.unwrap(), 2);
        assert_eq!(names(store.crawl_next_topics(10).await.unwrap()), ["b"]);
    }
}
