//! What the tables hold, for tests that ask whether nothing is lost.
//!
//! Positions differ from run to run, so rows are told by the envelopes that they are about, and positions within a row are
//! held against their definition instead ([`Database::contradictions`]).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sqlx::{AssertSqlSafe, PgPool, Row as _, postgres::PgPoolOptions};

/// A connection of the test's own.
pub struct Database {
    // One, so that what a statement sets holds for the next.
    pool: PgPool,
}

/// What an envelope is known by: its time and its digest.
pub type Identity = (u64, [u8; 32]);

/// What an envelope is known by.
pub fn identity(envelope: &wire::Envelope) -> Identity {
    (envelope.timestamp_ns, *envelope.digest().as_bytes())
}

/// The rows of every derived table as text, sorted.
pub type Dump = BTreeMap<String, Vec<String>>;

/// Columns that hold positions, and the one that holds the moment of indexing.
const LEFT_OUT: &str = "'{position,first_position,indexed_at}'::text[]";

/// What must hold of positions; each statement counts the rows that break it.
const LAWS: [(&str, &str); 10] = [
    (
        "positions are dense",
        "select abs(count(*) - (select position from ground.head)) + abs(coalesce(max(position), 0) - count(*))
           from (select position from ground.envelopes union all select position from ground.tombstones) log",
    ),
    (
        "identities are those of the log",
        "select count(*) from ground.identities i
           full join (select position, timestamp_ns, digest from ground.envelopes
                      union all select position, timestamp_ns, digest from ground.tombstones) e
                using (timestamp_ns, digest, position)
          where i.digest is null or e.digest is null",
    ),
    (
        "an invite's first position is that of its first copy",
        "select count(*) from derived.invites i where first_position is distinct from
            (select min(position) from derived.envelopes e where e.payload_key = i.id and e.kind = 2)",
    ),
    (
        "a message's first position is that of its first copy",
        "select count(*) from derived.messages m where first_position is distinct from
            (select min(position) from derived.envelopes e
              where e.payload_key = m.id and e.kind in (3, 4) and not e.erased)",
    ),
    (
        "the copies of invitations and messages are all there",
        "select count(*)
           from (select position from derived.envelopes where kind in (2, 3, 4) and not erased) e
           full join (select position from derived.invite_copies
                      union all select first_position from derived.messages
                      union all select position from derived.message_copies) c using (position)
          where e is null or c is null",
    ),
    (
        "a copy has the bytes of what it is a copy of",
        "select count(*)
           from (select position, id from derived.invite_copies
                 union all select position, id from derived.message_copies) c
           join derived.envelopes e using (position)
          where e.payload_key <> c.id",
    ),
    (
        "a topic's position and counts are those of its envelopes",
        "select count(*) from derived.topic_names n full join derived.topic_counts t using (key)
           full join (select topic_key as key, min(position) low, count(*) n, sum(size) bytes,
                             min(timestamp_ns) first, max(timestamp_ns) last
                        from derived.envelopes group by 1) e using (key)
          where (n.first_position, t.envelope_count, t.byte_count, n.first_seen_ns, t.first_seen_ns, t.last_seen_ns)
                is distinct from (low, e.n, bytes, first, first, last)",
    ),
    (
        "totals are the numbers of rows",
        "select count(*) from
            (select 'topics' as name, count(*) as rows from derived.topic_names
             union all select 'accounts', count(*) from derived.accounts
             union all select 'contact_bundles', count(*) from derived.contact_bundles
             union all select 'invites', count(*) from derived.invites
             union all select 'conversations', count(*) from derived.conversations
             union all select 'messages', count(*) from derived.messages
             union all select 'welcomes', count(*) from derived.welcomes) r
            left join derived.totals t on t.name = r.name and t.part = ''
          where r.rows <> coalesce(t.rows, 0)",
    ),
    (
        "every table has read all of the log",
        "select count(*) from derived.watermarks where position <> (select position from ground.head)",
    ),
    (
        "all of the log is served",
        "select count(*) from ground.head h full join derived.served s using (position)
          where h.position is null or s.position is null",
    ),
];

impl Database {
    /// Connects, until it works or does not in time.
    pub async fn connect(url: &str) -> Database {
        let pool =
            crate::patience::until("the database answers", crate::patience::LONG, async || {
                PgPoolOptions::new().max_connections(1).connect(url).await.ok()
            })
            .await;
        Database { pool }
    }

    /// Makes an empty database on the same server, and gives its address.
    pub async fn make_another(&self, url: &str, name: &str) -> String {
        self.execute(&format!("create database {name}")).await;
        let (base, _) = url.rsplit_once('/').unwrap();
        format!("{base}/{name}")
    }

    /// Runs statements.
    pub async fn execute(&self, statements: &str) {
        let statements = AssertSqlSafe(statements.to_owned());
        sqlx::raw_sql(statements).execute(&self.pool).await.unwrap();
    }

    /// The number that a statement gives.
    pub async fn number(&self, statement: &str) -> i64 {
        let statement = AssertSqlSafe(statement.to_owned());
        sqlx::query_scalar(statement).fetch_one(&self.pool).await.unwrap()
    }

    /// What the log holds, in its order: time and digest.
    pub async fn log(&self) -> Vec<Identity> {
        let statement = "select timestamp_ns, digest from ground.envelopes order by position";
        let rows: Vec<(i64, Vec<u8>)> =
            sqlx::query_as(statement).fetch_all(&self.pool).await.unwrap();
        let read = |(ns, digest): (i64, Vec<u8>)| {
            (store::time::from_db(ns), digest.as_slice().try_into().unwrap())
        };
        rows.into_iter().map(read).collect()
    }

    /// The wallets that anybody named.
    pub async fn wallets(&self) -> HashSet<Vec<u8>> {
        let statement = "select address from derived.accounts";
        sqlx::query_scalar(statement).fetch_all(&self.pool).await.unwrap().into_iter().collect()
    }

    /// Fails unless the log holds each of these once, and nothing else.
    pub async fn log_is(&self, distinct: &BTreeSet<Identity>) {
        let log = self.log().await;
        let logged: BTreeSet<Identity> = log.iter().copied().collect();
        let (lost, invented) =
            (distinct.difference(&logged).count(), logged.difference(distinct).count());
        assert_eq!((lost, invented), (0, 0), "lost, invented");
        assert_eq!(log.len(), logged.len(), "something is there twice");
    }

    /// Every derived table, row by row; but for those that only tell how far the others are, which is a law.
    pub async fn dump(&self) -> Dump {
        let tables = "select c.relname::text,
                exists (select 1 from pg_attribute a
                         where a.attrelid = c.oid and a.attname = 'position' and not a.attisdropped)
           from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname = 'derived' and c.relkind = 'r' and c.relname not in ('watermarks', 'served', 'rebuilds')
            -- Which copy is the first depends on the order in which they came; laws hold of these.
            and c.relname not in ('invite_copies', 'message_copies')";
        let mut dump = Dump::new();
        for table in sqlx::query(tables).fetch_all(&self.pool).await.unwrap() {
            let (name, by_position): (String, bool) = (table.get(0), table.get(1));
            let about = match by_position {
                true => "join ground.envelopes g using (position)",
                false => "",
            };
            let which = if by_position {
                "g.timestamp_ns || ' ' || encode(g.digest, 'hex') || ' ' ||"
            } else {
                ""
            };
            // A total that went back to nothing is the same as one that never was.
            let rows = if name == "totals" { "where rows <> 0" } else { "" };
            let statement = format!(
                "select {which} (to_jsonb(t) - {LEFT_OUT})::text from derived.{name} t {about} {rows}"
            );
            let rows = sqlx::query_scalar(AssertSqlSafe(statement)).fetch_all(&self.pool).await;
            let mut rows: Vec<String> = rows.unwrap();
            rows.sort_unstable();
            dump.insert(name, rows);
        }
        dump
    }

    /// What contradicts itself; nothing, if all is well.
    pub async fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (law, statement) in LAWS {
            let broken = self.number(&format!("select ({statement})::bigint")).await;
            if broken != 0 {
                found.push(format!("{law}: {broken} do not"));
            }
        }
        found
    }
}

/// The number that a statement gives, if the database answers at once.
pub async fn glance(url: &str, statement: &str) -> Option<i64> {
    let ask = async {
        let pool = PgPoolOptions::new().max_connections(1).connect(url).await.ok()?;
        sqlx::query_scalar(AssertSqlSafe(statement.to_owned())).fetch_one(&pool).await.ok()
    };
    tokio::time::timeout(std::time::Duration::from_secs(2), ask).await.ok()?
}

/// Both must hold the same rows. Says of each table how many are missing or too much, and shows some.
pub fn same(what: &str, expected: &Dump, got: &Dump) {
    assert!(expected.keys().eq(got.keys()), "{:?} {:?}", expected.keys(), got.keys());
    let mut wrong = Vec::new();
    for (table, rows) in expected {
        let (mut missing, mut extra) = (Vec::new(), Vec::new());
        let (mut a, mut b) = (rows.iter().peekable(), got[table].iter().peekable());
        loop {
            match (a.peek(), b.peek()) {
                (None, None) => break,
                (Some(x), Some(y)) if x == y => {
                    a.next();
                    b.next();
                }
                (Some(x), Some(y)) if x < y => missing.extend(a.next()),
                (Some(_), None) => missing.extend(a.next()),
                _ => extra.extend(b.next()),
            }
        }
        if !missing.is_empty() || !extra.is_empty() {
            wrong.push(format!(
                "{table}: {} missing, {} too much\n  - {:?}\n  + {:?}",
                missing.len(),
                extra.len(),
                &missing[..missing.len().min(3)],
                &extra[..extra.len().min(3)]
            ));
        }
    }
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(rows: &[&str]) -> Dump {
        let rows = rows.iter().map(|row| (*row).to_owned()).collect();
        Dump::from([("table".to_owned(), rows)])
    }

    #[test]
    fn the_same_is_the_same() {
        same("equal", &dump(&["a", "b", "b"]), &dump(&["a", "b", "b"]));
    }

    #[test]
    #[should_panic(expected = "1 missing, 2 too much")]
    fn what_is_missing_and_what_is_too_much_is_seen() {
        same("differ", &dump(&["a", "b", "d"]), &dump(&["a", "b", "b", "c"]));
    }
}
