//! Where envelopes come from: the number of each source, how far it has been read, and how it is doing.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use wire::TopicKind;

use crate::{append::Progress, database::Store, error::Result, gaps::Gap};

/// One source, as the database knows it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its number, by which rows of the log refer to it.
    pub id: i16,
    /// Its name, unique in a deployment.
    pub name: String,
    /// The kind of node.
    pub kind: String,
    /// True while a puller is connected to it. A puller that has not reported for half a minute counts as gone.
    pub connected: bool,
    /// When the newest envelope came from it.
    pub last_envelope_at: Option<DateTime<Utc>>,
    /// The error, for operators.
    pub error: Option<String>,
    /// When this was last reported.
    pub updated_at: DateTime<Utc>,
    /// How far its shards have been read, by name.
    pub progress: Vec<Progress>,
    /// Spans that may be incomplete, the oldest first; at most [`MAX_GAPS`].
    pub gaps: Vec<Gap>,
}

/// The most gaps of all sources that are listed.
pub const MAX_GAPS: i64 = 1_000;

impl Source {
    /// How far a shard has been read; 0 when it never was.
    #[must_use]
    pub fn upto(&self, shard: &str) -> i64 {
        self.progress.iter().find(|one| one.shard == shard).map_or(0, |one| one.upto)
    }
}

impl Store {
    /// The numbers of these sources; new ones get one.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub(crate) async fn source_ids(
        &self,
        names: impl Iterator<Item = &str>,
    ) -> Result<HashMap<String, i16>> {
        let names: Vec<String> =
            names.collect::<BTreeSet<_>>().into_iter().map(str::to_owned).collect();
        let mut connection = self.connection().await?;
        let find = async |connection: &mut sqlx::PgConnection| -> Result<HashMap<String, i16>> {
            let rows =
                sqlx::query!("select name, id from ground.sources where name = any($1)", &names)
                    .fetch_all(connection)
                    .await?;
            Ok(rows.into_iter().map(|row| (row.name, row.id)).collect())
        };
        let known = find(&mut connection).await?;
        if known.len() == names.len() {
            return Ok(known);
        }
        let missing: Vec<String> =
            names.iter().filter(|name| !known.contains_key(*name)).cloned().collect();
        // Outside of the transaction of the append: an assigned number is never taken back.
        sqlx::query!(
            "insert into ground.sources (name) select * from unnest($1::text[]) on conflict do nothing",
            &missing
        )
        .execute(&mut *connection)
        .await?;
        find(&mut connection).await
    }

    /// One source.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn source(&self, name: &str) -> Result<Option<Source>> {
        Ok(self.sources().await?.into_iter().find(|source| source.name == name))
    }

    /// All sources by name.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn sources(&self) -> Result<Vec<Source>> {
        let mut connection = self.connection().await?;
        let rows = sqlx::query!(
            r#"select s.id, s.name, s.kind, s.last_envelope_at, s.error, s.updated_at,
                      s.connected and s.updated_at > now() - interval '30 seconds' as "connected!",
                      p.shard as "shard?", p.upto as "upto?"
                 from ground.sources s left join ground.progress p on p.source = s.id
                where s.forgotten_at is null
                order by s.name, p.shard"#
        )
        .fetch_all(&mut *connection)
        .await?;
        let mut sources: Vec<Source> = Vec::new();
        for row in rows {
            if sources.last().is_none_or(|last| last.id != row.id) {
                sources.push(Source {
                    id: row.id,
                    name: row.name,
                    kind: row.kind,
                    connected: row.connected,
                    last_envelope_at: row.last_envelope_at,
                    error: row.error,
                    updated_at: row.updated_at,
                    progress: Vec::new(),
                    gaps: Vec::new(),
                });
            }
            if let (Some(last), Some(shard), Some(upto)) = (sources.last_mut(), row.shard, row.upto)
            {
                last.progress.push(Progress { shard, upto });
            }
        }
        for (source, gap) in crate::gaps::list(&mut connection, None, MAX_GAPS).await? {
            if let Some(source) = sources.iter_mut().find(|known| known.id == source) {
                source.gaps.push(gap);
            }
        }
        Ok(sources)
    }

    /// Reports how a source is doing. Its progress stays: that moves with the pages that it accounts for.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn report_source(
        &self,
        name: &str,
        kind: &str,
        connected: bool,
        last_envelope_at: Option<DateTime<Utc>>,
        error: Option<&str>,
    ) -> Result<()> {
        // An upsert would take a number of the sequence each time.
        self.source_ids([name].into_iter()).await?;
        let mut connection = self.connection().await?;
        sqlx::query!(
            "update ground.sources
                set kind = $2, connected = $3, last_envelope_at = coalesce($4, last_envelope_at), error = $5,
                    updated_at = now(), forgotten_at = null
              where name = $1",
            name,
            kind,
            connected,
            last_envelope_at,
            error
        )
        .execute(&mut *connection)
        .await?;
        Ok(())
    }

    /// Lowers progress of a source to these values, so that what lies behind them is read again; returns how many shards
    /// moved. A puller that is running would raise it again: call this while [`Store::lead`] holds the source.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn rewind(&self, name: &str, to: &[Progress]) -> Result<u64> {
        let moved = sqlx::query!(
            "update ground.progress p set upto = t.upto, updated_at = now()
               from ground.sources s, unnest($2::text[], $3::bigint[]) as t (shard, upto)
              where s.name = $1 and p.source = s.id and p.shard = t.shard and p.upto > t.upto",
            name,
            &to.iter().map(|one| one.shard.clone()).collect::<Vec<_>>(),
            &to.iter().map(|one| one.upto).collect::<Vec<_>>()
        )
        .execute(&mut *self.connection().await?)
        .await?;
        Ok(moved.rows_affected())
    }

    /// Drops progress, gaps and status of a source; returns false when there is none of that name. Envelopes that came from
    /// it stay, and name it.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn forget_source(&self, name: &str) -> Result<bool> {
        let mut tx = self.begin().await?;
        let id = sqlx::query_scalar!(
            "update ground.sources
                set connected = false, last_envelope_at = null, error = null, forgotten_at = now()
              where name = $1 and forgotten_at is null returning id",
            name
        )
        .fetch_optional(&mut *tx)
        .await?;
        let Some(id) = id else { return Ok(false) };
        sqlx::query!("delete from ground.progress where source = $1", id).execute(&mut *tx).await?;
        sqlx::query!("delete from ground.gaps where source = $1", id).execute(&mut *tx).await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Names of known topics of these kinds, in the order of their names, `limit` of them after `after`.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn known_topics(
        &self,
        after: Option<&str>,
        limit: i64,
        kinds: &[TopicKind],
    ) -> Result<Vec<String>> {
        let kinds: Vec<i16> = kinds.iter().map(|kind| kind.code()).collect();
        let names = sqlx::query_scalar!(
            r#"select name from derived.topic_names
                where name collate "C" > $1 and kind = any($2)
                order by name collate "C" limit $3"#,
            after.unwrap_or(""),
            &kinds,
            limit
        );
        Ok(names.fetch_all(&mut *self.connection().await?).await?)
    }

    /// The topics of these kinds with the newest envelopes of before a time (nanoseconds since 1970), `limit` of them.
    /// Senders set times: without a bound, topics with envelopes of the future would stay the newest for ever.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn active_topics(
        &self,
        before_ns: u64,
        limit: i64,
        kinds: &[TopicKind],
    ) -> Result<Vec<String>> {
        let kinds: Vec<i16> = kinds.iter().map(|kind| kind.code()).collect();
        // The newest first, then their names and kinds: a bounded part of the index is read, whatever the kinds are.
        let names = sqlx::query_scalar!(
            "select n.name from (select key, last_seen_ns from derived.topic_counts where last_seen_ns < $1
                                  order by last_seen_ns desc, key desc limit 20 * $2::bigint) c
               join derived.topic_names n on n.key = c.key
              where n.kind = any($3) order by c.last_seen_ns desc limit $2::bigint",
            crate::time::to_db(before_ns),
            limit,
            &kinds
        );
        Ok(names.fetch_all(&mut *self.connection().await?).await?)
    }

    /// Whether one of these wallets or topics is unknown.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn lacks(&self, accounts: &[wire::Address], topics: &[String]) -> Result<bool> {
        let accounts: Vec<Vec<u8>> = accounts.iter().map(|one| one.as_bytes().to_vec()).collect();
        let topics: Vec<uuid::Uuid> =
            topics.iter().map(|topic| crate::log::topic_key(topic.as_bytes())).collect();
        let lacks = sqlx::query_scalar!(
            r#"select exists (select from unnest($1::bytea[]) u (address)
                               where not exists (select from derived.accounts a where a.address = u.address))
                   or exists (select from unnest($2::uuid[]) u (key)
                               where not exists (select from derived.topic_names t where t.key = u.key)) as "lacks!""#,
            &accounts,
            &topics
        );
        Ok(lacks.fetch_one(&mut *self.connection().await?).await?)
    }

    /// How far the shards of a source have been read, and when each was last written.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn progress(&self, name: &str) -> Result<Vec<(Progress, DateTime<Utc>)>> {
        let rows = sqlx::query!(
            "select p.shard, p.upto, p.updated_at from ground.progress p
               join ground.sources s on s.id = p.source where s.name = $1",
            name
        )
        .fetch_all(&mut *self.connection().await?)
        .await?;
        let progress = |shard, upto| Progress { shard, upto };
        Ok(rows.into_iter().map(|row| (progress(row.shard, row.upto), row.updated_at)).collect())
    }

    /// Whether the log has each of these envelopes, erased ones included.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn known_envelopes(&self, envelopes: &[wire::Envelope]) -> Result<Vec<bool>> {
        let times: Vec<i64> =
            envelopes.iter().map(|one| crate::time::to_db(one.timestamp_ns)).collect();
        let digests: Vec<Vec<u8>> =
            envelopes.iter().map(|one| one.digest().as_bytes().to_vec()).collect();
        let known = sqlx::query_scalar!(
            r#"select exists (select from ground.identities i
                               where i.timestamp_ns = u.timestamp_ns and i.digest = u.digest) as "known!"
                 from unnest($1::bigint[], $2::bytea[]) with ordinality as u (timestamp_ns, digest, nth) order by nth"#,
            &times,
            &digests
        );
        Ok(known.fetch_all(&mut *self.connection().await?).await?)
    }
}
