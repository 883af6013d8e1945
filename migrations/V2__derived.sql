-- What the log means. Everything here may be emptied at any moment and comes back by itself, the same.
create schema derived;

-- How far each projection has read the log. A row moves in the transaction that writes the projection's rows.
create table derived.watermarks (
    name       text        primary key,
    version    integer     not null,
    position   bigint      not null default 0,
    rebuild_to bigint      not null default 0, -- below this position the projection is rebuilding
    updated_at timestamptz not null default now()
);

-- Keys: topic_key is the first half of SHA-256(topic), payload_key the first half of SHA-256(message).

-- One narrow row an envelope: what lists, filters and counts need without touching the log.
create table derived.envelopes (
    position     bigint   not null,
    timestamp_ns bigint   not null,
    topic_key    uuid     not null,
    payload_key  uuid     not null,
    size         integer  not null,
    kind         smallint not null,
    topic_kind   smallint not null,
    generation   smallint not null,
    primary key (position)
) partition by range (position);
create index envelopes_topic   on derived.envelopes (topic_key, position);
create index envelopes_payload on derived.envelopes (payload_key, position);
create index envelopes_time    on derived.envelopes (timestamp_ns, position);
create index envelopes_kind    on derived.envelopes (kind, position);

-- A topic in two tables: what is said once, and what every envelope moves. Together they would have every index
-- written anew for every page.
create table derived.topic_names (
    key            uuid     primary key,
    name           text     not null,
    kind           smallint not null,
    owner          bytea, -- the wallet that the name says
    peer           bytea, -- the second wallet of a dm topic
    first_seen_ns  bigint   not null,
    first_position bigint   not null
);
create index topic_names_name     on derived.topic_names (name collate "C");
create index topic_names_first    on derived.topic_names (first_seen_ns, key);
create index topic_names_position on derived.topic_names (first_position);
create index topic_names_kind     on derived.topic_names (kind, key);
create index topic_names_owner    on derived.topic_names (owner, key) where owner is not null;
create index topic_names_peer     on derived.topic_names (peer, key) where peer is not null;

create table derived.topic_counts (
    key            uuid   primary key,
    envelope_count bigint not null,
    byte_count     bigint not null,
    last_seen_ns   bigint not null,
    last_position  bigint not null
) with (fillfactor = 80);
create index topic_counts_last  on derived.topic_counts (last_seen_ns, key);
create index topic_counts_count on derived.topic_counts (envelope_count, key);

create view derived.topics as
    select key, n.name, n.kind, n.owner, n.peer, c.envelope_count, c.byte_count, n.first_seen_ns, c.last_seen_ns,
           n.first_position, c.last_position
      from derived.topic_names n join derived.topic_counts c using (key);

-- Every wallet that a topic's name, a bundle or a header names.
create table derived.accounts (
    address            bytea   primary key,
    has_contact_bundle boolean not null, -- a verified one
    first_seen_ns      bigint  not null,
    last_seen_ns       bigint  not null
) with (fillfactor = 80);
create index accounts_first on derived.accounts (first_seen_ns, address);
create index accounts_last  on derived.accounts (last_seen_ns, address);

-- One row a publication: history is kept. The current one of an account is the newest verified by (published_ns, digest).
create table derived.contact_bundles (
    position            bigint   primary key,
    account             bytea    not null,
    signer              bytea,
    generation          smallint not null,
    form                smallint not null, -- 0 bare, 1 v1, 2 v2
    verification        smallint not null,
    published_ns        bigint   not null,
    digest              bytea    not null,
    identity_key        bytea    not null,
    identity_created_ns bigint   not null,
    identity_signature  bytea,
    pre_key             bytea,
    pre_created_ns      bigint,
    pre_signature       bytea
);
create index contact_bundles_account on derived.contact_bundles (account, published_ns, digest);
create index contact_bundles_current on derived.contact_bundles (account, published_ns, digest) where verification = 1;
create index contact_bundles_time    on derived.contact_bundles (published_ns, position);

-- One row an invitation, however many inboxes hold a copy of it.
create table derived.invites (
    id                     uuid     primary key, -- payload_key
    sender                 bytea    not null,
    recipient              bytea    not null,
    created_ns             bigint   not null,
    verification           smallint not null,
    delivered_to_sender    boolean  not null,
    delivered_to_recipient boolean  not null,
    first_position         bigint   not null
);
create index invites_sender    on derived.invites (sender, created_ns, id);
create index invites_recipient on derived.invites (recipient, created_ns, id);
create index invites_time      on derived.invites (created_ns, id);
create index invites_position  on derived.invites (first_position);

create table derived.conversations (
    key              uuid     primary key, -- topic_key
    name             text     not null,
    generation       smallint not null,
    a                bytea, -- both wallets of a dm topic
    b                bytea,
    message_count    bigint   not null,
    first_message_ns bigint,
    last_message_ns  bigint
) with (fillfactor = 80);
create index conversations_last  on derived.conversations (last_message_ns, key);
create index conversations_count on derived.conversations (message_count, key);
create index conversations_a     on derived.conversations (a, last_message_ns, key) where a is not null;
create index conversations_b     on derived.conversations (b, last_message_ns, key) where b is not null;

-- One row a message, however many topics hold a copy of its bytes.
create table derived.messages (
    id              uuid     primary key, -- payload_key
    conversation    uuid,
    sent_ns         bigint   not null,
    first_position  bigint   not null,
    sender          bytea,
    recipient       bytea,
    generation      smallint not null,
    verification    smallint not null,
    should_push     boolean,
    has_sender_hmac boolean  not null
);
create index messages_conversation on derived.messages (conversation, sent_ns, id);
create index messages_sender       on derived.messages (sender, sent_ns, id) where sender is not null;
create index messages_recipient    on derived.messages (recipient, sent_ns, id) where recipient is not null;
create index messages_time         on derived.messages (sent_ns, id);

-- Envelopes that nobody can read, and why.
create table derived.undecodables (
    position   bigint   primary key,
    topic_kind smallint not null,
    reason     text     not null
);

-- How much, by the envelopes' own minute (and hour), payload kind, topic kind and generation. Exact: rows and watermark
-- move together. Times are minutes (hours) since 1970.
create table derived.volume_minutes (
    minute     integer  not null,
    kind       smallint not null,
    topic_kind smallint not null,
    generation smallint not null,
    envelopes  bigint   not null,
    bytes      bigint   not null,
    primary key (minute, kind, topic_kind, generation)
) with (fillfactor = 80);
create table derived.volume_hours (
    hour       integer  not null,
    kind       smallint not null,
    topic_kind smallint not null,
    generation smallint not null,
    envelopes  bigint   not null,
    bytes      bigint   not null,
    primary key (hour, kind, topic_kind, generation)
) with (fillfactor = 80);

-- How many rows the tables of things have: exact, because it moves with them. Counting a million rows takes long.
create table derived.totals (
    name text   primary key,
    rows bigint not null default 0
);
create function derived.add_to_total() returns trigger language plpgsql as $$
begin
    -- Of an upsert, only the rows that were inserted are in here.
    update derived.totals set rows = totals.rows + (select count(*) from inserted) where name = tg_argv[0];
    return null;
end $$;
create function derived.empty_total() returns trigger language plpgsql as $$
begin
    update derived.totals set rows = 0 where name = tg_argv[0];
    return null;
end $$;
do $$
declare
    thing text[];
begin
    foreach thing slice 1 in array array[
        ['topics', 'derived.topic_names'], ['accounts', 'derived.accounts'], ['contact_bundles', 'derived.contact_bundles'],
        ['invites', 'derived.invites'], ['conversations', 'derived.conversations']
    ] loop
        insert into derived.totals (name) values (thing[1]);
        execute format('create trigger total after insert on %s referencing new table as inserted
                        for each statement execute function derived.add_to_total(%L)', thing[2], thing[1]);
        execute format('create trigger no_total after truncate on %s
                        for each statement execute function derived.empty_total(%L)', thing[2], thing[1]);
    end loop;
end $$;

-- Makes room for `ahead` more envelopes in every table partitioned by position.
create function ground.extend(ahead bigint) returns integer
    language sql as $$
    select ground.extend_table('ground.envelopes', 2000000, position + ahead)
         + ground.extend_table('derived.envelopes', 2000000, position + ahead)
      from ground.head
$$;
select ground.extend(2000000);
