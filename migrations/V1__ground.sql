-- What nodes said, never changed. Everything here is written by the workers' append and by nothing else.
create schema ground;

-- Nanoseconds since 1970 are unsigned 64 bits on the network and senders set them freely, so every value must fit.
-- A stored time is the network's value minus 2^63: all of u64 fits into bigint, and the order is kept.
create function ground.ns(stored bigint) returns numeric
    language sql immutable strict parallel safe
    return stored::numeric + 9223372036854775808;

create function ground.at(stored bigint) returns timestamptz
    language sql immutable strict parallel safe
    return to_timestamp(trunc(ground.ns(stored) / 1000) / 1000000);

-- The head of the log: how many envelopes it holds, which is the position of the newest. An appender holds this row
-- until it commits, so positions are dense and become visible in their own order (invariant 1).
create table ground.head (
    single   boolean primary key default true check (single),
    position bigint  not null default 0
);
insert into ground.head default values;

-- Identity of an envelope of V1 to V3: what the nodes themselves key by. Time comes first, so that live traffic fills
-- the index at its right edge and the cost of a row stays that of a young table.
create table ground.identities (
    timestamp_ns bigint not null,
    digest       bytea  not null,
    primary key (timestamp_ns, digest)
);

-- Identity of an envelope of V4.
create table ground.origins (
    originator integer not null,
    sequence   bigint  not null,
    primary key (originator, sequence)
);

-- The log. Partitioned by position: the indexes being written are always young ones.
create table ground.envelopes (
    position     bigint      not null,
    timestamp_ns bigint      not null,
    indexed_at   timestamptz not null default now(),
    originator   integer,
    sequence     bigint,
    source       text        not null,
    topic        text        not null,
    digest       bytea       not null,
    message      bytea       not null,
    primary key (position)
) partition by range (position);
-- Ciphertext does not compress.
alter table ground.envelopes alter column message set storage external;
create index envelopes_digest on ground.envelopes (digest);

-- How far into each source, and how it is doing. The cursor's meaning belongs to the kind of source.
create table ground.sources (
    name             text        primary key,
    kind             text        not null,
    cursor           bytea,
    connected        boolean     not null default false,
    last_envelope_at timestamptz,
    error            text,
    updated_at       timestamptz not null default now()
);

-- What could not be stored in the log, with the reason and the bytes.
create table ground.parked (
    id           bigint      generated always as identity primary key,
    fingerprint  bytea       not null unique,
    source       text        not null,
    reason       text        not null,
    topic        bytea       not null,
    timestamp_ns bigint      not null,
    message      bytea       not null,
    parked_at    timestamptz not null default now()
);

-- Makes partitions ahead of the log, never in the path of an append: see ground.extend.
create function ground.extend_table(parent regclass, width bigint, upto bigint) returns integer
    language plpgsql as $$
declare
    first bigint;
    made  integer := 0;
    name  text;
begin
    select coalesce(max((regexp_match(pg_get_expr(c.relpartbound, c.oid), 'TO \(''?(\d+)''?\)'))[1]::bigint), 1)
      into first
      from pg_inherits i join pg_class c on c.oid = i.inhrelid
     where i.inhparent = parent;
    while first <= upto loop
        name := format('%s_%s', parent::text, lpad(((first - 1) / width)::text, 6, '0'));
        execute format('create table %s (like %s including defaults including storage)', name, parent);
        -- The check spares the attach a scan and a long lock.
        execute format('alter table %s add constraint bounds check (position >= %s and position < %s)', name, first, first + width);
        execute format('alter table %s attach partition %s for values from (%s) to (%s)', parent, name, first, first + width);
        execute format('alter table %s drop constraint bounds', name);
        -- Rows are never changed: one vacuum, when a partition is full, instead of one for every fifth of it.
        execute format('alter table %s set (autovacuum_vacuum_insert_threshold = %s, autovacuum_vacuum_insert_scale_factor = 0)', name, width);
        first := first + width;
        made := made + 1;
    end loop;
    return made;
end $$;
