//! What readers may do, held by grants: settings of a session can be switched off by whoever has the session, grants
//! cannot. One role has them, and whoever serves is a member of it or takes it on.

use deadpool_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::{
    database::Store,
    error::{Error, Result},
};

/// The role that may read what is served, and nothing else.
pub const READER: &str = "xmtp_reader";

/// What an administrator must say where this program may not make roles.
pub const BY_HAND: &str = "create role xmtp_reader nologin; grant xmtp_reader to <the user of DATABASE_URL>; \
     then run `xmtp-indexer migrate` again";

/// Another process, perhaps for another database of the same server, changes the same role.
const TRIES: u32 = 5;

/// Whether readers have a role of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// It is there, and has its grants.
    Granted,
    /// It is not, and this program may not make it: [`BY_HAND`].
    NoRole,
}

/// What a connection may do, as the database sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// As whom.
    pub role: String,
    /// The role was taken on by a session that may lay it down again.
    pub resettable: bool,
    /// What it may do beyond reading what is served, in words.
    pub excess: Vec<String>,
}

/// Every relation that readers see, with the columns where not all are theirs. Those of `derived` come by themselves.
const GRANTS: &str = "
do $$
declare
    wanted record;
begin
    grant usage on schema public, ground, derived, access to xmtp_reader;
    for wanted in
        select * from (values
            ('ground.head', ''),
            ('ground.sources', ''),
            ('ground.parked', '(id)'),
            ('ground.envelopes', '(position, timestamp_ns, indexed_at, originator, sequence, topic, digest)'),
            ('ground.messages', ''),
            ('access.live_keys', ''),
            ('public.refinery_schema_history', '')
        ) named(relation, columns)
        union all
        select c.oid::regclass::text, '' from pg_class c
         where c.relnamespace = 'derived'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
    loop
        execute format('grant select %s on %s to xmtp_reader', wanted.columns, wanted.relation);
    end loop;
    grant execute on function access.touch(text[]) to xmtp_reader;
    -- What everybody may do in a new database, and readers may not here.
    begin
        revoke create on schema public from public;
        execute format('revoke temporary on database %I from public', current_database());
        if (select rolsuper from pg_roles where rolname = current_user) then
            revoke execute on function pg_catalog.lo_creat(integer) from public;
            revoke execute on function pg_catalog.lo_create(oid) from public;
            revoke execute on function pg_catalog.lo_from_bytea(oid, bytea) from public;
        end if;
    exception when insufficient_privilege then
        raise notice 'the rights of everybody in this database are its owner''s to take away';
    end;
end $$";

const RIGHTS: &str = "
with ours as (
    select c.oid from pg_class c
     where c.relnamespace in (select oid from pg_namespace where nspname in ('ground', 'derived', 'access'))
       and c.relkind in ('r', 'p') and not c.relispartition
)
select current_user::text, current_user <> session_user,
       array_remove(array[
           case when (select rolsuper from pg_roles where rolname = current_user)
                then 'it is a superuser' end,
           case when (select rolcreaterole or rolcreatedb or rolreplication or rolbypassrls
                        from pg_roles where rolname = current_user)
                then 'it may make roles, databases or replicas' end,
           case when exists (select from ours where has_table_privilege(oid, 'insert, update, delete, truncate'))
                then 'it may write' end,
           case when has_database_privilege(current_database(), 'create, temporary')
                  or exists (select from pg_namespace
                              where nspname in ('public', 'ground', 'derived', 'access')
                                and has_schema_privilege(oid, 'create'))
                then 'it may create tables' end,
           case when has_column_privilege('ground.envelopes', 'message', 'select')
                then 'it may read private stores' end
       ], null)";

impl Store {
    /// What the connections of this pool may do. Asks a database that is at this program's version.
    ///
    /// # Errors
    /// When Postgres fails.
    pub async fn rights(&self) -> Result<Rights> {
        let row = self.client().await?.query_one(RIGHTS, &[]).await?;
        Ok(Rights { role: row.try_get(0)?, resettable: row.try_get(1)?, excess: row.try_get(2)? })
    }

    /// May the connections of this pool take the readers' role on?
    ///
    /// # Errors
    /// When Postgres fails in another way.
    pub async fn can_become_reader(&self) -> Result<bool> {
        can_become_reader(&*self.client().await?).await
    }

    /// Gives the readers' role a login with this password, which is any that it had before no more.
    ///
    /// # Errors
    /// When Postgres fails, or this user may not make roles.
    pub async fn reader_login(&self, name: &str, password: &str) -> Result<()> {
        let client = self.client().await?;
        let known = client
            .query_one(
                "select exists (select from pg_roles where rolname = $1::text),
                        format('create role %I', $1::text),
                        format('alter role %I login password %L', $1::text, $2::text),
                        format('grant xmtp_reader to %I', $1::text)",
                &[&name, &password],
            )
            .await?;
        if !known.try_get::<_, bool>(0)? {
            client.batch_execute(known.try_get(1)?).await?;
        }
        client.batch_execute(known.try_get(2)?).await?;
        client.batch_execute(known.try_get(3)?).await?;
        Ok(())
    }
}

/// Gives readers what they need and no more; safe to do again.
pub(crate) async fn give(client: &Client) -> Result<Readers> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_to_give(client).await {
            Err(Error::Postgres(error)) if tries < TRIES && passes(&error) => {
                tokio::time::sleep(std::time::Duration::from_millis(20 << tries)).await;
            }
            other => return other,
        }
    }
}

/// Two at once: the role was made in between, or the same row of a catalogue was changed.
fn passes(error: &tokio_postgres::Error) -> bool {
    let known = [
        SqlState::DUPLICATE_OBJECT,
        SqlState::UNIQUE_VIOLATION,
        SqlState::INTERNAL_ERROR,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    error.code().is_some_and(|code| known.contains(code))
}

async fn try_to_give(client: &Client) -> Result<Readers> {
    let known = client
        .query_one("select exists (select from pg_roles where rolname = $1)", &[&READER])
        .await?;
    if !known.try_get::<_, bool>(0)? {
        match client.batch_execute("create role xmtp_reader nologin").await {
            Err(error) if is_forbidden(&error) => return Ok(Readers::NoRole),
            made => made?,
        }
    }
    if !can_become_reader(client).await? {
        match client.batch_execute("grant xmtp_reader to current_user").await {
            // Those who serve then need a login of their own, and the grants are theirs all the same.
            Err(error) if is_forbidden(&error) => {
                tracing::warn!("this user may not take the role {READER} on");
            }
            given => given?,
        }
    }
    client.batch_execute(GRANTS).await?;
    Ok(Readers::Granted)
}

async fn can_become_reader(client: &tokio_postgres::Client) -> Result<bool> {
    match client.batch_execute("begin; set local role xmtp_reader; rollback").await {
        Ok(()) => Ok(true),
        Err(error) => {
            client.batch_execute("rollback").await?;
            let absent = error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE)
                || error.code() == Some(&SqlState::UNDEFINED_OBJECT);
            if absent || is_forbidden(&error) { Ok(false) } else { Err(error.into()) }
        }
    }
}

fn is_forbidden(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE)
}

#[cfg(test)]
mod tests;
