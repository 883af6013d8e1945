-- Schema `ground`: what nodes said. Only the append of the workers, retention and erasure write here.
create schema ground;

-- The network's times are unsigned 64-bit nanoseconds since 1970, set freely by senders, so every value must fit into a
-- bigint. A `…_ns` column stores the network's value minus 2^63: all of u64 fits and the order is kept.
create function ground.ns(stored bigint) returns numeric
    language sql immutable strict parallel safe
    return stored::numeric + 9223372036854775808;
comment on function ground.ns(bigint) is 'The network''s nanoseconds since 1970 for a stored …_ns value.';

create function ground.at(stored bigint) returns timestamptz
    language sql immutable strict parallel safe
    return to_timestamp(trunc(ground.ns(stored) / 1000) / 1000000);
comment on function ground.at(bigint) is 'A stored …_ns value as timestamptz, truncated to microseconds.';

-- Names this database. Page cursors carry the tag: positions of another database mean nothing here. The first worker writes
-- the network, whose envelopes the log then holds for ever: envelopes of two networks in one log cannot be told apart.
create table ground.database (
    single     boolean     primary key default true check (single),
    tag        integer     not null default (random() * 2147483646)::integer,
    network    text,
    created_at timestamptz not null default now()
);
insert into ground.database default values;

-- The head of the log: the number of envelopes ever appended, which is the position of the newest. An appender locks this
-- row until it commits, so positions are dense and become visible in ascending order (invariant 1). `erasures` counts
-- erasures: a projector that decoded a page before an erasure must read it again.
create table ground.head (
    single   boolean primary key default true check (single),
    position bigint  not null default 0,
    erasures bigint  not null default 0
);
insert into ground.head default values;

-- Row counts of tables of this schema that anybody may ask for. They change in the transaction that changes the table.
create table ground.counts (
    name text   primary key,
    rows bigint not null default 0
);
insert into ground.counts (name) values ('parked'), ('conflicts');

-- Where envelopes come from, and how each source is doing. Rows of the log refer to the number.
create table ground.sources (
    id               smallint    generated always as identity primary key,
    name             text        not null unique,
    kind             text        not null default '',
    connected        boolean     not null default false,
    last_envelope_at timestamptz,
    error            text,
    updated_at       timestamptz not null default now(),
    forgotten_at     timestamptz  -- an operator said so: it is listed no more, and the log still names it
);

-- Spans of a source that may be incomplete, and what is being done about them: one row a shard. A span is of the
-- network's times or of sequence numbers; without an end it reaches to the present.
create table ground.gaps (
    source        smallint    not null references ground.sources,
    shard         text        not null,
    state         text        not null check (state in ('open', 'repairing', 'unrepairable')),
    from_ns       bigint,
    to_ns         bigint,
    sequence_from bigint,
    sequence_to   bigint,
    reason        text        not null,
    noticed_at    timestamptz not null default now(),
    primary key (source, shard)
);

-- How far each shard of a source has been read. What a shard is and what `upto` counts (nanoseconds, sequence numbers, log
-- positions) belongs to the kind of source; `upto` only grows. A row moves in the transaction of the page it accounts for.
create table ground.progress (
    source     smallint    not null references ground.sources,
    shard      text        not null,
    upto       bigint      not null,
    updated_at timestamptz not null default now(),
    primary key (source, shard)
) with (fillfactor = 50);

-- Identity of envelopes of sources that do not number them (V1 to V3): what the nodes themselves key by. The time comes
-- first so that live traffic fills the index at its right edge.
create table ground.identities (
    timestamp_ns bigint not null,
    digest       bytea  not null, -- SHA-256(topic || message)
    position     bigint not null,
    primary key (timestamp_ns, digest)
);

-- Identity of envelopes of sources that number them. A space is a range of numbers that is unique in itself.
create table ground.sequences (
    space    integer not null,
    sequence bigint  not null,
    position bigint  not null,
    digest   bytea   not null, -- tells whether an envelope that comes again has the same bytes
    primary key (space, sequence)
);

-- The log. Partitioned by position, so that the index that is written is always a young one. Rows are inserted and, by
-- erasure, deleted; never updated.
create table ground.envelopes (
    position     bigint      not null,
    timestamp_ns bigint      not null,
    indexed_at   timestamptz not null default now(),
    payload_key  uuid        not null, -- first half of SHA-256(message)
    sequence     bigint,               -- with space: the number that the source gave it
    space        integer,
    source       smallint    not null,
    topic        bytea       not null, -- the network's bytes
    digest       bytea       not null, -- SHA-256(topic || message)
    message      bytea       not null,
    primary key (position)
) partition by range (position);
-- Ciphertext does not compress.
alter table ground.envelopes alter column message set storage external;

-- Envelopes whose message was erased: what is needed to count them and to recognise them when they come again. A rebuild
-- reads them in the place of the log's row.
create table ground.tombstones (
    position     bigint      primary key,
    timestamp_ns bigint      not null,
    indexed_at   timestamptz not null,
    payload_key  uuid        not null,
    sequence     bigint,
    space        integer,
    source       smallint    not null,
    topic        bytea       not null,
    digest       bytea       not null,
    size         integer     not null,                -- bytes of the erased message
    kind         smallint    not null,                -- what the message was, see derived.envelopes
    generation   smallint    not null,
    sent_ns      bigint,                              -- the time in the message's header
    accounts     bytea[]     not null default '{}',   -- wallets that the message named
    reason       text        not null,                -- 'erasure' or 'retention'
    erased_at    timestamptz not null default now()
);

-- How far each rule of retention has been applied: everything of before `upto_ns` among the first `position` envelopes.
create table ground.retention (
    rule     text   primary key,
    upto_ns  bigint not null,
    position bigint not null
);

-- Envelopes that came under a sequence number that other bytes have already: kept as evidence against the source.
create table ground.conflicts (
    id           bigint      generated always as identity primary key,
    space        integer     not null,
    sequence     bigint      not null,
    digest       bytea       not null,
    source       smallint    not null,
    timestamp_ns bigint      not null,
    topic        bytea       not null,
    message      bytea       not null,
    seen_at      timestamptz not null default now(),
    unique (space, sequence, digest)
);

-- Envelopes that the log cannot take, with the reason and the bytes.
create table ground.parked (
    id            bigint      generated always as identity primary key,
    fingerprint   bytea       not null unique, -- parking the same envelope twice changes nothing
    source        text        not null,
    reason        text        not null,
    topic         bytea       not null,
    timestamp_ns  bigint      not null,
    space         integer,
    sequence      bigint,
    message       bytea       not null,
    parked_at     timestamptz not null default now(),
    tries         integer     not null default 0, -- how often `parked retry` has tried it
    last_tried_at timestamptz
);

-- The partitions of the log.
create table ground.partitions (
    name      text        primary key,
    first     bigint      not null unique, -- the first position
    upto      bigint      not null,        -- the first position of the next partition
    frozen_at timestamptz,                 -- vacuumed and frozen since it is full
    erased_at timestamptz,                 -- messages were erased from it that no vacuum has taken out of its file yet
    dropped_at timestamptz                 -- every envelope in it was erased, and the table is gone
);

-- Makes the partitions of the log up to a position; returns how many it made. Callers hold the advisory lock of partitions.
create function ground.extend(width bigint, ahead bigint) returns integer
    language plpgsql as $$
declare
    first bigint := (select coalesce(max(upto), 1) from ground.partitions);
    last  bigint := (select position + ahead from ground.head);
    made  integer := 0;
    name  text;
begin
    while first <= last loop
        name := format('envelopes_%s', lpad(first::text, 12, '0'));
        execute format('create table ground.%I (like ground.envelopes including defaults including storage)', name);
        -- The check spares the attach a scan under a lock.
        execute format('alter table ground.%I add constraint bounds check (position >= %s and position < %s)',
                       name, first, first + width);
        execute format('alter table ground.envelopes attach partition ground.%I for values from (%s) to (%s)',
                       name, first, first + width);
        execute format('alter table ground.%I drop constraint bounds', name);
        -- Inserts start a vacuum when a partition is half full; `freeze` does the rest when it is full.
        execute format('alter table ground.%I set (autovacuum_vacuum_insert_threshold = %s, autovacuum_vacuum_insert_scale_factor = 0)',
                       name, width / 2);
        insert into ground.partitions (name, first, upto) values (name, first, first + width);
        first := first + width;
        made := made + 1;
    end loop;
    return made;
end $$;
select ground.extend(2000000, 2000000);
