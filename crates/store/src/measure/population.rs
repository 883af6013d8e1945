//! The index that `bench api` queries: any number of envelopes and invitations, generated in the database, as consistent as if
//! they had been received. Parts that no query reads are simple (messages are short and hold nothing, identities are left
//! out).

use sqlx::{AssertSqlSafe, PgConnection};
use wire::Address;

use crate::{
    database::Store,
    error::{Error, Result},
    projections, time,
};

/// Days that the envelopes are spread over.
const DAYS: u64 = 30;
/// When they begin: 2024-10-01, midnight.
const BEGIN_NS: u64 = 1_727_740_800_000_000_000;
const HOUR_NS: u64 = 3_600_000_000_000;
/// Invitations that one wallet gets.
const INVITES_EACH: u64 = 100;

/// How much there is of what. Everything else follows from these two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Population {
    /// Envelopes in the log, in all.
    pub envelopes: u64,
    /// Invitations; each has two copies in the log.
    pub invites: u64,
}

impl Population {
    /// Wallets. Each has published a verified bundle, every fifth two of them.
    #[must_use]
    pub fn accounts(&self) -> u64 {
        self.invites.max(1)
    }

    /// Wallets that got invitations, about a hundred each: the first ones.
    #[must_use]
    pub fn recipients(&self) -> u64 {
        (self.invites / INVITES_EACH).max(1)
    }

    /// Days that hold envelopes.
    #[must_use]
    pub fn days(&self) -> u64 {
        DAYS
    }

    /// The time at which a day begins.
    #[must_use]
    pub fn day(&self, nth: u64) -> u64 {
        BEGIN_NS + nth * 24 * HOUR_NS
    }

    /// The first hour, as the rollup counts.
    #[must_use]
    pub fn first_hour(&self) -> u64 {
        BEGIN_NS / HOUR_NS
    }

    /// The address of a wallet by its number: its decimal digits, so that SQL can make it, and no letter whose case
    /// would depend on a checksum.
    #[must_use]
    pub fn address(nth: u64) -> Address {
        let digits = format!("{nth:040}");
        let mut bytes = [0; 20];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = pair.iter().fold(0, |sum, digit| (sum << 4) | (digit - b'0'));
        }
        Address::from(bytes)
    }

    /// Envelopes that are neither bundles nor invitations.
    fn others(&self) -> u64 {
        let bundles = self.accounts() + self.accounts().div_ceil(5);
        self.envelopes.saturating_sub(bundles + 2 * self.invites)
    }
}

/// Indexes that are no constraints go before the rows come, and come back behind them: that takes a fraction of the
/// time.
const WITHOUT_INDEXES: &str = "
    create temp table indexes as
        select i.indexrelid::regclass::text as name, replace(pg_get_indexdef(i.indexrelid), ' ON ONLY ', ' ON ') as text
          from pg_index i
         where i.indrelid = any (array['ground.envelopes', 'derived.envelopes', 'derived.topic_names',
                                       'derived.topic_counts', 'derived.accounts', 'derived.contact_bundles',
                                       'derived.invites']::regclass[])
           and not exists (select from pg_constraint c where c.conindid = i.indexrelid);
    do $$ declare one record; begin
        for one in select * from indexes loop execute 'drop index ' || one.name; end loop;
    end $$";

const INDEXES: &str = "
    do $$ declare one record; begin
        for one in select * from indexes loop execute one.text; end loop;
    end $$";

/// Everything that there is, numbered in the order of the log: what it is (0 a bundle, 1 an older form of one, 2 and 3
/// the copies of an invitation with its sender and its recipient, 4 a group's message), which of these, and whose topic.
const ITEMS: &str = "
    create temp table pairs as
        select n, (s + (s = n % {recipients})::int) % {accounts} as sender, n % {recipients} as recipient
          from (select n, abs(hashint8extended(n, 7) % {accounts}) as s from generate_series(0, {invites} - 1) n) p;
    create temp table items as
        select row_number() over (order by hashint8extended(n, what)) as position, what, n, a from (
            select 0 as what, n, n as a from generate_series(0::bigint, {accounts} - 1) n
            union all select 1, n, n from generate_series(0::bigint, {accounts} - 1, 5) n
            union all select 2, n, sender from pairs
            union all select 3, n, recipient from pairs
            union all select 4, n, n % {accounts} from generate_series(0::bigint, {others} - 1) n) all_of_them;
    create unique index on items (position);
    analyze pairs; analyze items";

/// The address of a number.
macro_rules! address {
    ($number:literal) => {
        concat!("decode(lpad(", $number, "::text, 40, '0'), 'hex')")
    };
}

/// The topic of wallet or group `a`: by these conditions a contact topic, an invite topic, or else a group's.
macro_rules! topic {
    ($contact:literal, $invite:literal) => {
        concat!(
            "case when ",
            $contact,
            " then '/xmtp/0/contact-0x' || lpad(a::text, 40, '0') || '/proto' when ",
            $invite,
            " then '/xmtp/0/invite-0x' || lpad(a::text, 40, '0') || '/proto'
              else '/xmtp/mls/1/g-' || md5(a::text) || '/proto' end"
        )
    };
}

const LOG: &str = concat!(
    "insert into ground.envelopes (position, timestamp_ns, payload_key, source, topic, digest, message)
    select position, {begin} + position * {step}, encode(substr(sha256(message), 1, 16), 'hex')::uuid, 1,
           convert_to(topic, 'UTF8'), sha256(convert_to(topic, 'UTF8') || message), message
      from (select * from items order by position) items,
           lateral (select ",
    topic!("what < 2", "what < 4"),
    " as topic, decode(repeat(md5(case when what in (2, 3) then 'i' else 'e' || what end || n),
                              (4 + n % 17)::int), 'hex') as message offset 0) made"
);

const ENVELOPES: &str = "
    insert into derived.envelopes
           (position, timestamp_ns, indexed_at, topic_key, payload_key, size, kind, topic_kind, generation, erased, digest)
    select position, e.timestamp_ns, e.indexed_at, encode(substr(sha256(e.topic), 1, 16), 'hex')::uuid,
           e.payload_key, octet_length(e.message),
           (array[1, 1, 2, 2, 7])[what + 1], (array[1, 1, 4, 4, 9])[what + 1], (array[2, 1, 2, 2, 3])[what + 1],
           false, e.digest
      from ground.envelopes e join items using (position) order by position";

const TOPICS: &str = concat!(
    "create temp table of_topics as
        select encode(substr(sha256(convert_to(name, 'UTF8')), 1, 16), 'hex')::uuid as key, name, t.*
          from (select kind, a, count(*) as envelopes, sum(16 * (4 + n % 17))::bigint as bytes, min(position) as first,
                       max(position) as last
                  from (select *, (array[1, 1, 4, 4, 9])[what + 1] as kind from items) i group by kind, a) t,
               lateral (select ",
    topic!("kind = 1", "kind = 4"),
    " as name) named;
     insert into derived.topic_names (key, topic, name, kind, owner, first_seen_ns, first_position)
     select key, convert_to(name, 'UTF8'), name, kind, case when kind <> 9 then ",
    address!("a"),
    " end, {begin} + first * {step}, first from of_topics order by key;
     insert into derived.topic_counts (key, envelope_count, byte_count, first_seen_ns, last_seen_ns)
     select key, envelopes, bytes, {begin} + first * {step}, {begin} + last * {step} from of_topics order by key"
);

const ACCOUNTS: &str = concat!(
    "insert into derived.accounts (address, verified_bundles, first_seen_ns, last_seen_ns)
     select ",
    address!("a"),
    ", count(*) filter (where what < 2), {begin} + min(position) * {step}, {begin} + max(position) * {step}
       from (select a, position, what from items where what < 2
             union all select sender, position, what from items join pairs using (n) where what in (2, 3)
             union all select recipient, position, what from items join pairs using (n) where what in (2, 3)) seen
      group by a order by a"
);

const CONTACT_BUNDLES: &str = concat!(
    "insert into derived.contact_bundles
            (position, account, signer, generation, form, verification, published_ns, digest, identity_key,
             identity_created_ns, identity_signature, pre_key, pre_created_ns, pre_signature)
     select position, account, account, 2 - what, 2 - what, 1, e.timestamp_ns, e.digest, '\\x04' || half || half,
            e.timestamp_ns, half || half, '\\x04' || e.digest || half, e.timestamp_ns, e.digest || half
       from items join ground.envelopes e using (position),
            lateral (select ",
    address!("a"),
    " as account, sha256(e.message) as half) made
      where what < 2 order by position"
);

const INVITES: &str = concat!(
    "insert into derived.invites
            (id, sender, recipient, created_ns, verification, delivered_to_sender, delivered_to_recipient, first_position)
     select d.payload_key, ",
    address!("sender"),
    ", ",
    address!("recipient"),
    ", min(d.timestamp_ns), 1, true, true, min(position)
       from items join pairs using (n) join derived.envelopes d using (position)
      where what in (2, 3) group by d.payload_key, sender, recipient;
     insert into derived.invite_copies (id, position, verification, delivered_to_sender, delivered_to_recipient)
     select d.payload_key, position, 1, what = 2, what = 3
       from items join derived.envelopes d using (position) where what in (2, 3)"
);

const TOTALS: &str = "
    insert into derived.totals (projection, name, part, rows)
    select 'topics', 'topics', '', count(*) from derived.topic_names
    union all select 'accounts', 'accounts', '', count(*) from derived.accounts
    union all select 'accounts', 'accounts', 'true', count(*) from derived.accounts
    union all select 'contact_bundles', 'contact_bundles', '', count(*) from derived.contact_bundles
    union all select 'invites', 'invites', '', count(*) from derived.invites";

const VOLUME: &str = "
    insert into derived.volume_minutes (minute, kind, topic_kind, generation, envelopes, bytes)
    select {first_hour} * 60 + (timestamp_ns - {begin}) / 60000000000, kind, topic_kind, generation, count(*), sum(size)
      from derived.envelopes group by 1, 2, 3, 4;
    insert into derived.volume_hours (hour, kind, topic_kind, generation, envelopes, bytes)
    select minute / 60, kind, topic_kind, generation, sum(envelopes), sum(bytes)
      from derived.volume_minutes group by 1, 2, 3, 4";

/// The steps, in order, with their names for progress output.
const STEPS: [(&str, &str); 11] = [
    ("no indexes", WITHOUT_INDEXES),
    ("who says what, when", ITEMS),
    ("the log", LOG),
    ("envelopes", ENVELOPES),
    ("topics", TOPICS),
    ("accounts", ACCOUNTS),
    ("contact bundles", CONTACT_BUNDLES),
    ("invitations", INVITES),
    ("rollups", VOLUME),
    ("totals", TOTALS),
    ("indexes", INDEXES),
];

impl Store {
    /// Fills an empty, migrated database. `on_step` is called with the name of each step.
    ///
    /// # Errors
    /// When the log is not empty, and when PostgreSQL fails.
    pub async fn populate(
        &self,
        population: &Population,
        on_step: impl Fn(&'static str),
    ) -> Result<()> {
        let head = self.head().await?.0;
        if head != 0 {
            let what = format!("it stands at {head}: only an empty database can be filled");
            return Err(Error::Contradiction { table: "ground.head", what });
        }
        let made =
            2 * population.invites + population.accounts() + population.accounts().div_ceil(5);
        let size = made + population.others();
        self.prepare_watermarks(&projections::all()).await?;
        self.source_ids(["bench"].into_iter()).await?;
        // Its settings and temporary tables end with it. It reads tables from end to end, as writers otherwise may not.
        let mut connection = self.own_connection().await?;
        let extend = format!(
            "reset enable_seqscan; reset enable_hashjoin; reset enable_mergejoin; set synchronous_commit = off;
             set work_mem = '256MB'; set maintenance_work_mem = '512MB'; select ground.extend({}, {size})",
            crate::maintenance::PARTITION_WIDTH
        );
        run(&mut connection, extend).await?;
        for (step, text) in STEPS {
            on_step(step);
            run(&mut connection, fill(text, population, size)).await?;
        }
        let moved = format!(
            "begin; update ground.head set position = {size}; update derived.watermarks set position = {size};
             update derived.served set position = {size}; commit"
        );
        run(&mut connection, moved).await?;
        on_step("statistics");
        settle(&mut connection).await?;
        // Not settled: statistics of an empty partition do not occur in practice.
        self.extend_partitions().await?;
        Ok(())
    }
}

async fn run(connection: &mut PgConnection, statements: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(connection).await?;
    Ok(())
}

/// Nothing is left to be done behind the questions' back.
async fn settle(connection: &mut PgConnection) -> Result<()> {
    let tables = projections::all();
    let tables = tables.iter().flat_map(|projection| projection.tables());
    let derived = tables.map(|table| format!("derived.{table}"));
    let others = ["ground.envelopes", "ground.head", "derived.watermarks", "derived.served"];
    for table in others.map(str::to_owned).into_iter().chain(derived) {
        // One statement a call: a vacuum cannot run beside others.
        run(connection, format!("vacuum (analyze) {table}")).await?;
    }
    run(connection, "checkpoint".to_owned()).await
}

fn fill(text: &str, population: &Population, size: u64) -> String {
    let step = population.days() * 24 * HOUR_NS / (size + 1);
    [
        ("{accounts}", signed(population.accounts())),
        ("{recipients}", signed(population.recipients())),
        ("{invites}", signed(population.invites)),
        ("{others}", signed(population.others())),
        ("{first_hour}", signed(population.first_hour())),
        ("{step}", signed(step)),
    ]
    .iter()
    .fold(text.to_owned(), |text, (name, value)| text.replace(name, &format!("{value}::bigint")))
    .replace("{begin}", &format!("({})::bigint", time::to_db(BEGIN_NS)))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

    use crate::{log::Content, log::PageBounds, log::Position, read, testing::TestDatabase};

    #[sqlx::test(migrator = "crate::migrate::MIGRATOR")]
    async fn what_is_made_is_as_it_would_have_been_received(
        _: PgPoolOptions,
        options: PgConnectOptions,
    ) {
        let db = TestDatabase::on(options).await;
        let indexes = "select count(*) from pg_indexes where schemaname in ('ground', 'derived')";
        let before: i64 = db.value(indexes).await;
        let population = Population { envelopes: 3_000, invites: 500 };
        db.store.populate(&population, |_| ()).await.unwrap();
        let after: i64 = db.value(indexes).await;
        // Partitions that were made meanwhile have some, too.
        assert!(after >= before, "{after} indexes of {before}");

        let bounds = PageBounds { envelopes: 5_000, ..PageBounds::default() };
        let log = db.store.page(Position(0), Position(3_000), bounds).await.unwrap();
        assert_eq!(log.len(), 3_000);
        let mut bytes = 0;
        for one in &log {
            let Content::Message(message) = &one.content else { panic!("nothing was erased") };
            bytes += message.len();
            let envelope = wire::Envelope {
                topic: one.topic.clone(),
                timestamp_ns: one.timestamp_ns,
                message: message.clone(),
            };
            assert_eq!(envelope.digest(), one.digest);
            assert_eq!(crate::log::payload_key(message), one.payload_key);
            let name = wire::topic::to_text(&one.topic);
            let topic = wire::Topic::parse(&name);
            let named = topic.owner().map(|owner| match topic {
                wire::Topic::Contact(_) => wire::topic::name::contact(owner),
                _ => wire::topic::name::invite(owner),
            });
            assert!(named.is_none_or(|named| named == name), "{name}");
        }

        let snapshot = db.store.snapshot().await.unwrap();
        assert_eq!((snapshot.head(), snapshot.lag()), (Position(3_000), 0));
        let wallets: Vec<Address> = (0..population.accounts()).map(Population::address).collect();
        let bundles = snapshot.current_contact_bundles(&wallets).await.unwrap();
        assert_eq!(bundles.len(), wallets.len());
        let filter =
            read::InviteFilter { recipient: Some(Population::address(4)), ..Default::default() };
        assert_eq!(snapshot.count_invites(&filter).await.unwrap(), 100);
        let (first, end) =
            (population.first_hour(), population.first_hour() + 24 * population.days());
        let volume = snapshot
            .volume(read::Width::Hour, first, end, read::Split::None, &Default::default())
            .await
            .unwrap();
        assert_eq!(volume.iter().map(|hour| hour.envelopes).sum::<u64>(), 3_000);
        assert_eq!(volume.iter().map(|hour| hour.bytes).sum::<u64>(), bytes as u64);
        snapshot.close().await.unwrap();
        // What is derived of a topic is what its envelopes add up to.
        let wrong: i64 = db
            .value(
                "select count(*) from derived.topic_names n join derived.topic_counts c using (key) full join (
                        select encode(substr(sha256(topic), 1, 16), 'hex')::uuid as key, topic,
                               count(*) as envelopes, sum(octet_length(message)) as bytes,
                               min(timestamp_ns) as first, max(timestamp_ns) as last
                          from ground.envelopes group by topic) e using (key)
                  where (n.topic, c.envelope_count, c.byte_count, n.first_seen_ns, c.first_seen_ns, c.last_seen_ns)
                        is distinct from (e.topic, e.envelopes, e.bytes, e.first, e.first, e.last)",
            )
            .await;
        assert_eq!(wrong, 0);
        assert!(db.store.populate(&population, |_| ()).await.is_err());
    }
}
