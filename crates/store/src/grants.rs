//! What readers may do, enforced by grants: a session can switch its own settings off, but not its grants. One role holds the
//! grants, and the API's connections are logins of that role or take it on.

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::{
    database::Store,
    error::{Error, Result},
};

/// The role that may read what the API serves, and nothing else.
pub const READER: &str = "xmtp_reader";

/// What an administrator must run when the user of `DATABASE_URL` may not create roles.
pub const BY_HAND: &str = "create role xmtp_reader nologin; grant xmtp_reader to <the user of DATABASE_URL>; \
     then run `xmtp-indexer migrate` again";

/// How often grants are tried while another process, perhaps for another database of the same server, changes the same role.
const TRIES: u32 = 5;

/// Whether readers have a role of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// The role exists and has its grants.
    Granted,
    /// The role does not exist, and this user may not create it: see [`BY_HAND`].
    NoRole,
}

/// What a connection may do, according to the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// The current role.
    pub role: String,
    /// True when the session took the role on with `set role`, and can therefore give it up again.
    pub resettable: bool,
    /// Descriptions of the role's privileges beyond reading what the API serves.
    pub excess: Vec<String>,
}

/// Every relation that readers see, with a list of columns where they do not see all. Relations of `derived` need no line.
/// Tables that are built in the schema `rebuild` get their grants when they are made (see `rebuild.rs`): readers have no
/// access to that schema, and keep the grants on the tables that are moved out of it.
const GRANTS: &str = "
do $$
declare
    wanted record;
begin
    grant usage on schema public, ground, derived, access to xmtp_reader;
    for wanted in
        select * from (values
            ('ground.head', ''),
            ('ground.database', ''),
            ('ground.sources', ''),
            ('ground.progress', ''),
            ('ground.gaps', ''),
            ('ground.counts', ''),
            ('ground.envelopes',
             '(position, timestamp_ns, indexed_at, payload_key, space, sequence, source, topic, digest)'),
            ('ground.tombstones', ''),
            ('ground.messages', ''),
            ('access.live_keys', ''),
            ('public._sqlx_migrations', '')
        ) named(relation, columns)
        union all
        select c.oid::regclass::text, '' from pg_class c
         where c.relnamespace = 'derived'::regnamespace and c.relkind in ('r', 'p', 'v') and not c.relispartition
    loop
        execute format('grant select %s on %s to xmtp_reader', wanted.columns, wanted.relation);
    end loop;
    grant execute on function access.touch(text[]) to xmtp_reader;
    -- Rights that every role has in a new database, and that readers must not have in this one.
    begin
        revoke create on schema public from public;
        execute format('revoke temporary on database %I from public', current_database());
        if (select rolsuper from pg_roles where rolname = current_user) then
            revoke execute on function pg_catalog.lo_creat(integer) from public;
            revoke execute on function pg_catalog.lo_create(oid) from public;
            revoke execute on function pg_catalog.lo_from_bytea(oid, bytea) from public;
        end if;
    exception when insufficient_privilege then
        raise notice 'only the owner of this database can revoke the rights of public in it';
    end;
end $$";

impl Store {
    /// Returns what the connections of this pool may do. The database must be at this program's version.
    ///
    /// # Errors
    /// When PostgreSQL fails.
    pub async fn rights(&self) -> Result<Rights> {
        let mut connection = self.connection().await?;
        Ok(sqlx::query_as!(
            Rights,
            r#"with ours as (
                   select c.oid from pg_class c
                    where c.relnamespace in (select oid from pg_namespace
                                              where nspname in ('ground', 'derived', 'rebuild', 'access'))
                      and c.relkind in ('r', 'p') and not c.relispartition
               )
               select current_user::text as "role!", current_user <> session_user as "resettable!",
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
                                             where nspname in ('public', 'ground', 'derived', 'rebuild', 'access')
                                               and has_schema_privilege(oid, 'create'))
                               then 'it may create tables' end,
                          case when has_column_privilege('ground.envelopes', 'message', 'select')
                               then 'it may read private stores' end
                      ], null) as "excess!""#,
        )
        .fetch_one(&mut *connection)
        .await?)
    }

    /// Returns whether the connections of this pool may take the readers' role on.
    ///
    /// # Errors
    /// When PostgreSQL fails in another way.
    pub async fn can_become_reader(&self) -> Result<bool> {
        can_become_reader(&mut *self.connection().await?).await
    }

    /// Creates a login that is a member of the readers' role, or sets the password of an existing one.
    ///
    /// # Errors
    /// When PostgreSQL fails, or this user may not create roles.
    pub async fn reader_login(&self, name: &str, password: &str) -> Result<()> {
        let mut connection = self.connection().await?;
        // Neither names nor passwords can be parameters of these statements.
        let quoted = sqlx::query!(
            r#"select exists (select from pg_roles where rolname = $1) as "known!",
                      format('create role %I', $1::text) as "create!",
                      format('alter role %I login password %L', $1::text, $2::text) as "alter!",
                      format('grant xmtp_reader to %I', $1::text) as "grant!""#,
            name,
            password,
        )
        .fetch_one(&mut *connection)
        .await?;
        let create = (!quoted.known).then_some(quoted.create);
        for statement in create.into_iter().chain([quoted.alter, quoted.grant]) {
            sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// Grants readers the privileges that they need. Repeating it changes nothing.
pub(crate) async fn give(connection: &mut PgConnection) -> Result<Readers> {
    let mut tries = 0;
    loop {
        tries += 1;
        match try_to_give(connection).await {
            Err(error) if tries < TRIES && is_concurrent(&error) => {
                tokio::time::sleep(std::time::Duration::from_millis(20 << tries)).await;
            }
            other => return other,
        }
    }
}

/// Whether another process did the same at the same time: it created the role in between, or changed the same row of a
/// catalogue (which PostgreSQL reports as an internal error), or each waited for the other.
fn is_concurrent(error: &Error) -> bool {
    let codes = ["42710", "23505", "XX000", "40P01"];
    error.code().is_some_and(|code| codes.contains(&code.as_str()))
}

async fn try_to_give(connection: &mut PgConnection) -> Result<Readers> {
    let known = sqlx::query_scalar!(
        r#"select exists (select from pg_roles where rolname = $1) as "known!""#,
        READER,
    )
    .fetch_one(&mut *connection)
    .await?;
    if !known {
        match sqlx::raw_sql("create role xmtp_reader nologin").execute(&mut *connection).await {
            Ok(_) => {}
            Err(error) if is_forbidden(&error) => return Ok(Readers::NoRole),
            Err(error) => return Err(error.into()),
        }
    }
    if !can_become_reader(connection).await? {
        match sqlx::raw_sql("grant xmtp_reader to current_user").execute(&mut *connection).await {
            Ok(_) => {}
            // The API then needs a login of its own, for which the grants are made all the same.
            Err(error) if is_forbidden(&error) => {
                tracing::warn!("this user may not take the role {READER} on");
            }
            Err(error) => return Err(error.into()),
        }
    }
    sqlx::raw_sql(GRANTS).execute(connection).await?;
    Ok(Readers::Granted)
}

async fn can_become_reader(connection: &mut PgConnection) -> Result<bool> {
    let mut tx = connection.begin().await?;
    let changed = sqlx::raw_sql("set local role xmtp_reader").execute(&mut *tx).await;
    tx.rollback().await?;
    match changed {
        Ok(_) => Ok(true),
        Err(error) if is_forbidden(&error) || is_absent(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn is_forbidden(error: &sqlx::Error) -> bool {
    has_code(error, &["42501"])
}

/// Whether the role does not exist.
fn is_absent(error: &sqlx::Error) -> bool {
    has_code(error, &["22023", "42704"])
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    let code = error.as_database_error().and_then(|refusal| refusal.code());
    code.is_some_and(|code| codes.contains(&code.as_ref()))
}

#[cfg(test)]
mod tests;
