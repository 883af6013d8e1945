-- Up to where readers see, in one row: every question begins with it, and reading all watermarks for it costs as much as
-- an answer. It moves with them, whoever moves them.
create table derived.served (
    single   boolean primary key default true check (single),
    position bigint  not null default 0
);
insert into derived.served default values;

-- Where the slowest of the projections stands that readers read. Who adds one of them replaces this.
create function derived.slowest() returns bigint language sql stable as $$
    select case count(*) when 9 then min(position) else 0 end
      from derived.watermarks
     where name in ('envelopes', 'topics', 'accounts', 'contact_bundles', 'invites', 'conversations', 'messages',
                    'undecodables', 'welcomes')
$$;
create function derived.serve() returns trigger language plpgsql as $$
begin
    -- Who moves nothing must not wait here: it may hold what others in the queue wait for.
    if tg_op <> 'TRUNCATE' then
        if not exists (select from moved) then
            return null;
        end if;
    end if;
    -- First the lock, then another statement: that one sees what those before us in the queue have moved.
    perform from derived.served for update;
    insert into derived.served (position) select derived.slowest()
        on conflict (single) do update set position = excluded.position where served.position <> excluded.position;
    return null;
end $$;
create trigger served_new after insert on derived.watermarks referencing new table as moved
    for each statement execute function derived.serve();
create trigger served_moved after update on derived.watermarks referencing new table as moved
    for each statement execute function derived.serve();
create trigger served_gone after delete on derived.watermarks referencing old table as moved
    for each statement execute function derived.serve();
create trigger served_none after truncate on derived.watermarks
    for each statement execute function derived.serve();
update derived.served set position = derived.slowest();
-- Servers that are new already ask for it before readers are given what they may see, which is after all migrations.
do $$
begin
    if exists (select from pg_roles where rolname = 'xmtp_reader') then
        grant select on derived.served to xmtp_reader;
    end if;
end $$;
