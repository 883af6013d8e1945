//! The database that plans are made for: two million envelopes, some things of each kind that have very many others, and
//! some values that are rare.

use std::time::Duration;

use sqlx::{AssertSqlSafe, postgres::PgConnectOptions};
use uuid::Uuid;
use wire::Address;

use crate::{
    database::{Options, Store},
    measure::population::Population,
    testing::TestDatabase,
};

pub(super) const POPULATION: Population = Population { envelopes: 2_000_000, invites: 100_000 };

/// More rows than this make a table a big one.
pub(super) const BIG: i64 = 10_000;

/// What the population leaves out. Wallet 1 has of everything very many; so has one topic, and one conversation.
const REST: &str = "
    create function pg_temp.wallet(n bigint) returns bytea language sql immutable
        return decode(lpad(n::text, 40, '0'), 'hex');
    insert into derived.conversations (key, name, generation, a, b, message_count, first_message_ns, last_message_ns)
    select md5('c' || n)::uuid, '/xmtp/0/m-' || n || '/proto', case when n % 2 = 0 then 1 else 2 end,
           case when n % 2 = 0 then pg_temp.wallet(case when n % 10 = 0 then 1 else n % 1000 end) end,
           case when n % 2 = 0 then pg_temp.wallet(1000 + n % 7919) end,
           1 + abs(hashint8(n)) % 1000, {begin} + n, case when n % 20 <> 3 then {begin} + n * 1000000 end
      from generate_series(1::bigint, 100000) n;
    insert into derived.messages (id, conversation, sent_ns, first_position, sender, recipient, generation, verification,
                                  own_verification, should_push, has_sender_hmac)
    select md5('m' || n)::uuid, md5('c' || case when n % 10 = 0 then 1 else abs(hashint8(n)) % 100000 end)::uuid,
           {begin} + n * 1000000, n, case when n % 2 = 0 then pg_temp.wallet(n % 1000) end,
           case when n % 2 = 0 then pg_temp.wallet(n % 7919) end, case when n < 20 then 1 else 2 end, 4, 4, true, false
      from generate_series(1::bigint, 200000) n;
    insert into derived.message_copies (position, sent_ns, id, conversation, verification)
    select 200000 + n, m.sent_ns, m.id, m.conversation, 4
      from generate_series(1::bigint, 100000) n
      join derived.messages m on m.first_position = case when n <= 20000 then 1 else n end;
    insert into derived.invite_copies (id, position, verification, delivered_to_sender, delivered_to_recipient)
    select (select id from derived.invites order by first_position limit 1), 3000000 + n, 1, true, true
      from generate_series(1::bigint, 20000) n;
    insert into derived.welcomes (position, installation, published_ns, digest, wrapper_algorithm, is_pointer, size)
    select n, decode(md5('i' || n % 5000) || md5(''), 'hex'), {begin} + n, sha256('x'), 1, false, 100
      from generate_series(1::bigint, 50000) n;
    insert into derived.undecodables (position, topic_kind, reason)
    select n * 30, 1, 'why' from generate_series(1::bigint, 50000) n;
    insert into ground.parked (fingerprint, source, reason, topic, timestamp_ns, message)
    select sha256(n::text::bytea), 'node', 'why', 'topic', 0, decode(repeat(md5(n::text), 10), 'hex')
      from generate_series(1, 20000) n;
    insert into derived.contact_bundles
           (position, account, generation, form, verification, published_ns, digest, identity_key, identity_created_ns)
    select n * 97 + 1, pg_temp.wallet(1), case when n < 20 then 1 else 2 end, 1, 1 + (n < 20)::int,
           {begin} + n * 97 * 1000000, sha256(n::text::bytea), 'k', 0
      from generate_series(1::bigint, 20000) n on conflict do nothing;
    insert into derived.topic_names (key, topic, name, kind, owner, peer, first_seen_ns, first_position)
    select md5('d' || n)::uuid, 'x', '/xmtp/0/dm-' || n || '/proto', 3, pg_temp.wallet(1), pg_temp.wallet(n), {begin} + n, n
      from generate_series(1::bigint, 20000) n;
    insert into derived.topic_counts (key, envelope_count, byte_count, first_seen_ns, last_seen_ns)
    select md5('d' || n)::uuid, 1 + abs(hashint8(n)) % 1000, 1, {begin} + n, {begin} + n from generate_series(1::bigint, 20000) n;
    insert into derived.topic_names (key, topic, name, kind, first_seen_ns, first_position)
    values (md5('heavy')::uuid, '/heavy', '/heavy', 0, {begin}, 1);
    insert into derived.topic_counts (key, envelope_count, byte_count, first_seen_ns, last_seen_ns)
    values (md5('heavy')::uuid, 100000, 1, {begin}, {begin} + 1);
    update derived.envelopes set topic_key = md5('heavy')::uuid where position % 20 = 3;
    update derived.envelopes set kind = 6, topic_kind = 8, generation = 4
     where position < 500000 and position % 20000 = 7;
    update derived.accounts set verified_bundles = 0
     where address in (select pg_temp.wallet(n * 4001) from generate_series(1, 20) n);
    update derived.invites set verification = 2 where first_position < 5000;
    update derived.watermarks set position = 2000000;
    update derived.served set position = 2000000";

/// The database, and readers of it as the program has them.
pub(super) async fn filled(options: PgConnectOptions) -> (TestDatabase, Store) {
    let db = TestDatabase::on(options).await;
    db.store.populate(&POPULATION, |_| ()).await.unwrap();
    let begin = format!("({})::bigint", crate::time::to_db(POPULATION.day(0)));
    let rest = REST.replace("{begin}", &begin);
    // One session, because of its functions.
    db.execute(&format!("set synchronous_commit = off; {rest}; reset all")).await;
    // Of partitions that are empty there are no statistics, as in use.
    let tables = "ground.envelopes_000000000001 derived.envelopes derived.conversations derived.messages derived.message_copies \
                  derived.invite_copies derived.welcomes derived.undecodables derived.contact_bundles derived.topic_names \
                  derived.topic_counts derived.accounts derived.invites derived.totals ground.parked";
    let unsettled = "select exists (select from pg_class
                      where relnamespace in ('ground'::regnamespace, 'derived'::regnamespace) and relkind = 'r'
                        and reltuples > 10000 and relallvisible < relpages * 0.9)";
    // A table is not settled while something else holds a snapshot, such as an automatic vacuum of another table.
    for _ in 0..60 {
        for table in tables.split_whitespace() {
            db.execute(&format!("vacuum (analyze) {table}")).await;
        }
        if !db.value::<bool>(unsettled).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let readers = readers(&db).await;
    (db, readers)
}

/// Connections as the API has them.
pub(super) async fn readers(db: &TestDatabase) -> Store {
    let options = Options {
        readers: true,
        statement_timeout: Some(Duration::from_secs(15)),
        ..Options::new(db.url())
    };
    Store::connect(options).await.unwrap()
}

/// Number 1 has very many of everything.
pub(super) fn wallet(n: u64) -> Address {
    Population::address(n)
}

pub(super) async fn keys(store: &Store, sql: &str) -> Vec<Uuid> {
    let mut connection = store.connection().await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(&mut *connection).await.unwrap()
}
