-- What questions seek, so that none of them reads a big table from end to end. Rows stay as they are.

-- Projectors begin with their watermarks: from here to the end nobody writes to a derived table, so what is counted stays
-- true and no lock is waited for in a circle. Readers go on: what shuts them out comes last, and is of one table, because
-- readers may hold others.
lock table derived.watermarks in exclusive mode;

-- Totals of messages, and of some things in parts, from the first row of each on: `<name>/<generation>`, and accounts with
-- and without a verified bundle as `accounts/true` and `accounts/false`.
create function derived.add_to_parts() returns trigger language plpgsql as $$
begin
    insert into derived.totals as t (name, rows)
    select tg_argv[0] || '/' || generation, count(*) from inserted group by generation order by generation
        on conflict (name) do update set rows = t.rows + excluded.rows;
    return null;
end $$;
create function derived.add_accounts() returns trigger language plpgsql as $$
begin
    insert into derived.totals as t (name, rows)
    select 'accounts/' || has_contact_bundle, count(*) from inserted group by has_contact_bundle order by has_contact_bundle
        on conflict (name) do update set rows = t.rows + excluded.rows;
    return null;
end $$;
create function derived.move_accounts() returns trigger language plpgsql as $$
declare
    more bigint;
begin
    select sum(one) into more
      from (select 1 as one from after where has_contact_bundle
            union all select -1 from before where has_contact_bundle) moved;
    if more <> 0 then
        insert into derived.totals as t (name, rows) values ('accounts/false', -more), ('accounts/true', more)
            on conflict (name) do update set rows = t.rows + excluded.rows;
    end if;
    return null;
end $$;
create or replace function derived.empty_total() returns trigger language plpgsql as $$
begin
    update derived.totals set rows = 0 where split_part(name, '/', 1) = tg_argv[0];
    return null;
end $$;
create trigger total after insert on derived.messages referencing new table as inserted
    for each statement execute function derived.add_to_total('messages');
create trigger no_total after truncate on derived.messages
    for each statement execute function derived.empty_total('messages');
create trigger parts after insert on derived.messages referencing new table as inserted
    for each statement execute function derived.add_to_parts('messages');
create trigger parts after insert on derived.conversations referencing new table as inserted
    for each statement execute function derived.add_to_parts('conversations');
create trigger parts after insert on derived.accounts referencing new table as inserted
    for each statement execute function derived.add_accounts();
create trigger moved after update on derived.accounts referencing old table as before new table as after
    for each statement execute function derived.move_accounts();
insert into derived.totals (name, rows)
select 'messages', count(*) from derived.messages
union all select 'messages/' || generation, count(*) from derived.messages group by generation
union all select 'conversations/' || generation, count(*) from derived.conversations group by generation
union all select 'accounts/' || has_contact_bundle, count(*) from derived.accounts group by has_contact_bundle;
-- A total is of the whole table, and readers see up to the head: what lies beyond it is sought and taken off.
create index messages_position on derived.messages (first_position);

-- The current bundle as of the head: the position is looked at in the index.
create index contact_bundles_newest on derived.contact_bundles (account, published_ns, digest, position) where verification = 1;
-- In the order in which an account's bundles are listed. The digest is there to make it no smaller than
-- contact_bundles_newest: of two ways to an account, planners take the smaller index, and only that one ends a look-up at
-- its first row.
create index contact_bundles_listed on derived.contact_bundles (account, published_ns, position) include (digest);
-- In which generations an account can be reached. It does not begin with the account, for the same reason.
create index contact_bundles_verified on derived.contact_bundles (generation, account, position) where verification = 1;
drop index derived.contact_bundles_account, derived.contact_bundles_current;
