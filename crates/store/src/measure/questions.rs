//! The SQL that `bench api` compares the program with: the statements that pgbench sends, and what another GraphQL server
//! needs to answer the same requests.

use crate::{database::Store, error::Result};

/// A wallet with its current bundle, by address: exactly the columns that the answer needs.
pub const POINT: &str = "\\set n random(0, :accounts - 1)
select a.address, b.generation, b.verification, b.published_ns
  from derived.accounts a
  left join lateral (
        select generation, verification, published_ns from derived.contact_bundles
         where account = a.address and verification = 1
         order by published_ns desc, digest desc limit 1) b on true
 where a.address = decode(lpad(:n::text, 40, '0'), 'hex');
";

/// The newest 50 invitations to a wallet, whether there are more, and the sender of each with its current bundle.
pub const PAGE: &str = "\\set n random(0, :recipients - 1)
select i.id, i.created_ns, i.verification, i.sender, b.generation, b.verification, b.published_ns
  from (select id, created_ns, verification, sender from derived.invites
         where recipient = decode(lpad(:n::text, 40, '0'), 'hex')
         order by created_ns desc, id desc limit 51) i
  left join lateral (
        select generation, verification, published_ns from derived.contact_bundles
         where account = i.sender and verification = 1
         order by published_ns desc, digest desc limit 1) b on true
 order by i.created_ns desc, i.id desc;
";

/// The hours of a day, from the rollup.
pub const HOURS: &str = "\\set first :first_hour + 24 * random(0, :days - 1)
\\set last :first + 24
select hour, sum(envelopes)::bigint, sum(bytes)::bigint
  from derived.volume_hours
 where hour >= :first::integer and hour < :last::integer
 group by hour order by hour;
";

/// Relations, orders and a function, as comments that PostGraphile reads and a schema of its own.
const PEER: &str = "
    create schema if not exists peer;
    create function peer.hours(from_hour integer, to_hour integer)
        returns table (hour integer, envelopes bigint, bytes bigint) language sql stable as $$
        select hour, sum(envelopes)::bigint, sum(bytes)::bigint from derived.volume_hours
         where hour >= from_hour and hour < to_hour group by hour order by hour $$;
    comment on table derived.contact_bundles is E'@foreignKey (account) references derived.accounts (address)';
    comment on table derived.invites is
        E'@foreignKey (sender) references derived.accounts (address)|@fieldName senderAccount';
    comment on column derived.contact_bundles.verification is E'@behavior +attribute:filterBy';
    comment on column derived.contact_bundles.published_ns is E'@behavior +attribute:orderBy';
    comment on column derived.contact_bundles.digest is E'@behavior +attribute:orderBy';
    comment on column derived.invites.recipient is E'@behavior +attribute:filterBy';
    comment on column derived.invites.created_ns is E'@behavior +attribute:orderBy';
    comment on column derived.invites.id is E'@behavior +attribute:orderBy';
";

impl Store {
    /// Adds the comments and the function by which PostGraphile knows how the tables belong together. Nothing else uses them.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn prepare_peer(&self) -> Result<()> {
        sqlx::raw_sql(PEER).execute(&mut *self.connection().await?).await?;
        Ok(())
    }
}
