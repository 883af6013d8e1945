//! Building a projection's tables again, beside the ones that are served.
//!
//! The new tables stand in schema `rebuild` under the same names. A projection's statements name no schema; the search path
//! of their transaction decides which tables they write. When the new tables have caught up, they take the place of the old
//! ones in one short transaction.
//!
//! Readers must not see it. A transaction whose snapshot is older than the swap would find the new table without the rows
//! that were written after its snapshot was taken. So every reader's transaction locks `derived.served` in share mode before
//! its snapshot is taken, and the swap takes that lock exclusively: it waits until the readers that are under way have ended,
//! and later ones wait for the swap.

use sqlx::{AssertSqlSafe, PgConnection};

use crate::{
    error::{Error, Result},
    log::Position,
    projection::Erased,
    watermarks,
};

/// The longest that a swap waits for readers, and readers for a swap that waits. It is tried again.
const PATIENCE: &str = "set local lock_timeout = '500ms'";

/// Begins to build a projection's tables, from the beginning of the log. What was built of them before is thrown away. The
/// caller holds the projection's watermark.
pub(crate) async fn start(connection: &mut PgConnection, projection: &dyn Erased) -> Result<()> {
    sqlx::query!(
        "insert into derived.rebuilds (name, version) values ($1, $2)
         on conflict (name) do update
            set version = excluded.version, position = 0, error = null, started_at = now(), updated_at = now()",
        projection.name(),
        projection.version()
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("delete from rebuild.totals where projection = $1", projection.name())
        .execute(&mut *connection)
        .await?;
    for table in projection.tables() {
        sqlx::raw_sql(AssertSqlSafe(copy_of(table))).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Makes an empty copy of a served table: columns, constraints, indexes under the same names, storage and comments.
fn copy_of(table: &str) -> String {
    format!(
        "do $$
declare
    served regclass := 'derived.{table}';
    one record;
begin
    drop table if exists rebuild.{table};
    create table rebuild.{table} (like derived.{table} including all excluding indexes);
    for one in
        select pg_get_indexdef(i.indexrelid) as definition, c.relname as name, k.conname as key, k.contype as kind
          from pg_index i join pg_class c on c.oid = i.indexrelid
          left join pg_constraint k on k.conindid = i.indexrelid and k.contype in ('p', 'u')
         where i.indrelid = served order by i.indexrelid
    loop
        execute replace(one.definition, ' ON derived.', ' ON rebuild.');
        if one.key is not null then
            execute format('alter table rebuild.{table} add constraint %I %s using index %I', one.key,
                           case one.kind when 'p' then 'primary key' else 'unique' end, one.name);
        end if;
    end loop;
    for one in select array_to_string(reloptions, ', ') as options from pg_class where oid = served and reloptions is not null
    loop
        execute format('alter table rebuild.{table} set (%s)', one.options);
    end loop;
end $$"
    )
}

/// Locks a projection's rebuild; returns its version and position.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<(i32, Position)>> {
    let row = sqlx::query!(
        "select version, position from derived.rebuilds where name = $1 for update",
        name
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| (row.version, Position(row.position))))
}

/// Moves the position of a locked rebuild.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    names: &[&str],
    to: Position,
) -> Result<()> {
    sqlx::query!(
        "update derived.rebuilds set position = $2, error = null, updated_at = now() where name = any($1)",
        names as &[&str],
        to.0
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Puts the new tables in the place of the served ones, at `position`. The caller holds all watermarks and the rebuild.
pub(crate) async fn swap(
    connection: &mut PgConnection,
    projection: &dyn Erased,
    position: Position,
) -> Result<()> {
    sqlx::raw_sql(PATIENCE).execute(&mut *connection).await?;
    sqlx::query!("lock table derived.served in access exclusive mode")
        .execute(&mut *connection)
        .await?;
    for table in projection.tables() {
        sqlx::raw_sql(AssertSqlSafe(swap_of(table))).execute(&mut *connection).await?;
    }
    let name = projection.name();
    sqlx::query!("delete from derived.totals where projection = $1", name)
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "with moved as (delete from rebuild.totals where projection = $1 returning *)
         insert into derived.totals select * from moved",
        name
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!("delete from derived.rebuilds where name = $1", name)
        .execute(&mut *connection)
        .await?;
    let moved = sqlx::query!(
        "update derived.watermarks set version = $2, position = $3, error = null, updated_at = now() where name = $1",
        name,
        projection.version(),
        position.0
    )
    .execute(&mut *connection)
    .await?;
    if moved.rows_affected() != 1 {
        return Err(Error::Contradiction {
            table: "derived.watermarks",
            what: format!("projection {name} has no watermark"),
        });
    }
    watermarks::serve(connection, position).await
}

/// Swaps one table. Views that read it are made again over the new one, with their grants.
fn swap_of(table: &str) -> String {
    format!(
        "do $$
declare
    views record;
    one record;
    made text[] := '{{}}';
    dropped text[] := '{{}}';
begin
    -- Grants as they are now, which may be long after the new table was begun.
    for one in
        select format('grant %s on rebuild.{table} to %s%s', a.privilege_type,
                      case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                      case when a.is_grantable then ' with grant option' else '' end) as statement
          from pg_class c, aclexplode(c.relacl) a where c.oid = 'derived.{table}'::regclass and a.grantee <> c.relowner
         union all
        select format('grant %s (%I) on rebuild.{table} to %s%s', a.privilege_type, t.attname,
                      case a.grantee when 0 then 'public' else a.grantee::regrole::text end,
                      case when a.is_grantable then ' with grant option' else '' end)
          from pg_attribute t, aclexplode(t.attacl) a where t.attrelid = 'derived.{table}'::regclass and not t.attisdropped
    loop
        execute one.statement;
    end loop;
    for views in
        with recursive above as (
            select distinct v.oid, 1 as depth
              from pg_depend d join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class
             where d.refobjid = 'derived.{table}'::regclass and d.refclassid = 'pg_class'::regclass
               and d.classid = 'pg_rewrite'::regclass and v.relkind = 'v'
            union
            select v.oid, a.depth + 1
              from above a join pg_depend d on d.refobjid = a.oid and d.refclassid = 'pg_class'::regclass
                                           and d.classid = 'pg_rewrite'::regclass
              join pg_rewrite r on r.oid = d.objid join pg_class v on v.oid = r.ev_class
             where v.oid <> a.oid and v.relkind = 'v')
        select a.oid, a.oid::regclass::text as name, pg_get_viewdef(a.oid) as definition,
               array_to_string(c.reloptions, ', ') as options, c.relowner::regrole::text as owner,
               obj_description(a.oid, 'pg_class') as comment
          from (select oid, max(depth) as depth from above group by oid) a join pg_class c on c.oid = a.oid
         order by a.depth
    loop
        dropped := views.name || dropped;
        made := made || format('create view %s %s as %s', views.name, coalesce('with (' || views.options || ')', ''),
                               views.definition);
        made := made || format('alter view %s owner to %s', views.name, views.owner);
        if views.comment is not null then
            made := made || format('comment on view %s is %L', views.name, views.comment);
        end if;
        for one in
            select a.attname as name, col_description(views.oid, a.attnum) as comment
              from pg_attribute a where a.attrelid = views.oid and a.attnum > 0
        loop
            if one.comment is not null then
                made := made || format('comment on column %s.%I is %L', views.name, one.name, one.comment);
            end if;
        end loop;
        for one in
            select a.grantee, a.privilege_type as privilege
              from pg_class c, aclexplode(c.relacl) a where c.oid = views.oid and a.grantee <> c.relowner
        loop
            made := made || format('grant %s on %s to %s', one.privilege, views.name,
                                   case one.grantee when 0 then 'public' else one.grantee::regrole::text end);
        end loop;
    end loop;
    -- Without cascade: what depends on the table in another way is somebody's, and stays.
    for i in 1 .. coalesce(array_length(dropped, 1), 0) loop
        execute format('drop view %s', dropped[i]);
    end loop;
    drop table derived.{table};
    alter table rebuild.{table} set schema derived;
    for i in 1 .. coalesce(array_length(made, 1), 0) loop
        execute made[i];
    end loop;
end $$"
    )
}
