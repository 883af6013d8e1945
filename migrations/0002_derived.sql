-- Schema `derived`: what the log means. Every table can be built again from the log, beside the one that is served.
create schema derived;
-- Tables that are being built beside those that are served. See crates/store/src/rebuild.rs.
create schema rebuild;

-- How far each projection has read the log. A row moves in the transaction that writes the projection's rows.
create table derived.watermarks (
    name       text        primary key,
    version    integer     not null, -- of the code that wrote the rows
    position   bigint      not null,
    error      text,                 -- why the projection could not write its rows, while it cannot
    updated_at timestamptz not null default now()
) with (fillfactor = 50);

-- Projections that are being built beside the served ones, and how far that is.
create table derived.rebuilds (
    name       text        primary key,
    version    integer     not null,
    position   bigint      not null default 0,
    error      text,                 -- why it cannot be built, while it cannot
    started_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
) with (fillfactor = 50);

-- Up to which position answers speak: where the projections stand that are furthest. It never moves back. A projection that
-- stands behind it is stale.
create table derived.served (
    single   boolean primary key default true check (single),
    position bigint  not null default 0,
    stale    text[]  not null default '{}'
) with (fillfactor = 50);
insert into derived.served default values;

-- Numbers of rows that would take long to count. `part` is a generation, or whether an account has a verified bundle.
create table derived.totals (
    projection text   not null,
    name       text   not null,
    part       text   not null default '',
    rows       bigint not null,
    primary key (name, part)
) with (fillfactor = 50);
create table rebuild.totals (like derived.totals including all);

-- Keys: topic_key is the first half of SHA-256(topic), payload_key of SHA-256(message).

-- One narrow row an envelope: what lists, filters and look-ups need without touching the log.
create table derived.envelopes (
    position     bigint      primary key,
    timestamp_ns bigint      not null,
    indexed_at   timestamptz not null,
    topic_key    uuid        not null,
    payload_key  uuid        not null,
    size         integer     not null,
    kind         smallint    not null,
    topic_kind   smallint    not null,
    generation   smallint    not null,
    erased       boolean     not null,
    digest       bytea       not null
);
-- read/envelopes.rs: the envelopes of a topic
create index envelopes_topic on derived.envelopes (topic_key, position);
-- read/envelopes.rs: by the time of the envelope
create index envelopes_time on derived.envelopes (timestamp_ns, position);
-- read/envelopes.rs: of some kinds, in the order of the log
create index envelopes_kind on derived.envelopes (kind, position);
-- read/envelopes.rs: the envelope with a digest
create index envelopes_digest on derived.envelopes using hash (digest);

-- A topic in two tables: what is said once, and what every envelope moves. In one table every index would be written for
-- every page.
create table derived.topic_names (
    key            uuid     primary key,
    topic          bytea    not null, -- the network's bytes
    name           text     not null, -- its text form
    kind           smallint not null,
    owner          bytea,             -- the wallet that the name says
    peer           bytea,             -- the second wallet of a dm topic
    first_seen_ns  bigint   not null,
    first_position bigint   not null
);
-- read/topics.rs: whose name begins like this
create index topic_names_name on derived.topic_names (name collate "C");
-- read/topics.rs: in the order in which they were first seen
create index topic_names_first on derived.topic_names (first_seen_ns, key);
-- crawl.rs: topics that became known since
create index topic_names_position on derived.topic_names (first_position);
-- read/topics.rs: of a kind
create index topic_names_kind_first on derived.topic_names (kind, first_seen_ns, key);
-- read/topics.rs: whose name says a wallet
create index topic_names_owner_first on derived.topic_names (owner, first_seen_ns, key) where owner is not null;
-- read/topics.rs: whose name says a wallet second
create index topic_names_peer_first on derived.topic_names (peer, first_seen_ns, key) where peer is not null;

create table derived.topic_counts (
    key            uuid   primary key,
    envelope_count bigint not null,
    byte_count     bigint not null,
    first_seen_ns  bigint not null, -- the same as in topic_names, to see without reading it when that must change
    last_seen_ns   bigint not null
);
-- read/topics.rs: the most recently active first
create index topic_counts_last on derived.topic_counts (last_seen_ns, key);
-- read/topics.rs: those with the most envelopes first
create index topic_counts_count on derived.topic_counts (envelope_count, key);

-- Every wallet that a topic's name, a bundle or a header names.
create table derived.accounts (
    address            bytea   primary key,
    verified_bundles   integer not null, -- how many verified bundles it signed
    has_contact_bundle boolean not null generated always as (verified_bundles > 0) stored,
    first_seen_ns      bigint  not null,
    last_seen_ns       bigint  not null
);
-- read/accounts.rs: in the order in which they were first seen
create index accounts_first on derived.accounts (first_seen_ns, address);
-- read/accounts.rs: the most recently seen first
create index accounts_last on derived.accounts (last_seen_ns, address);

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
-- read/contact_bundles.rs: by the time of publication
create index contact_bundles_time on derived.contact_bundles (published_ns, position);
-- read/contact_bundles.rs: the current bundle of an account
create index contact_bundles_newest on derived.contact_bundles (account, published_ns, digest, position) where verification = 1;
-- The digest makes the next one no smaller than contact_bundles_newest: of two ways to an account, planners take the smaller
-- index, and only that one ends a look-up at its first row.
-- read/contact_bundles.rs: the bundles of an account
create index contact_bundles_listed on derived.contact_bundles (account, published_ns, position) include (digest);
-- It does not begin with the account, for the same reason.
-- read/accounts.rs: in which generations an account can be reached
create index contact_bundles_verified on derived.contact_bundles (generation, account, position) where verification = 1;

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
-- read/invites.rs: sent by a wallet
create index invites_sender on derived.invites (sender, created_ns, id);
-- read/invites.rs: sent to a wallet
create index invites_recipient on derived.invites (recipient, created_ns, id);
-- read/invites.rs: by the time in the header
create index invites_time on derived.invites (created_ns, id);
-- read/tail.rs: new invitations
create index invites_position on derived.invites (first_position);

-- All copies of invitations, with what each adds to its invitation.
create table derived.invite_copies (
    id                     uuid     not null,
    position               bigint   not null,
    verification           smallint not null,
    delivered_to_sender    boolean  not null,
    delivered_to_recipient boolean  not null,
    primary key (id, position)
);

create table derived.conversations (
    key              uuid     primary key, -- topic_key
    name             text     not null,
    generation       smallint not null,
    a                bytea, -- both wallets of a dm topic
    b                bytea,
    message_count    bigint   not null,
    first_message_ns bigint,
    last_message_ns  bigint
);
-- read/conversations.rs: those with the latest message first
create index conversations_last on derived.conversations (last_message_ns, key);
-- read/conversations.rs: those with the most messages first
create index conversations_count on derived.conversations (message_count, key);
-- read/conversations.rs: of a wallet
create index conversations_a on derived.conversations (a, last_message_ns, key) where a is not null;
-- read/conversations.rs: of a wallet that is named second
create index conversations_b on derived.conversations (b, last_message_ns, key) where b is not null;

-- One row a message, however many topics hold a copy of its bytes. It is named by the time in its header and its payload
-- key: the time first, so that live traffic fills the index at its right edge.
create table derived.messages (
    first_position  bigint   primary key, -- of the first copy, which decides what the message belongs to
    id              uuid     not null,    -- payload_key
    sent_ns         bigint   not null,
    conversation    uuid     not null,    -- topic_key
    sender          bytea,
    recipient       bytea,
    generation      smallint not null,
    verification    smallint not null, -- the best of all copies
    own_verification smallint not null, -- of the first copy
    should_push     boolean,
    has_sender_hmac boolean  not null,
    constraint messages_time unique (sent_ns, id)
);
-- read/messages.rs: the messages of a conversation
create index messages_conversation on derived.messages (conversation, sent_ns, id);
-- read/messages.rs: sent by a wallet
create index messages_sender on derived.messages (sender, sent_ns, id) where sender is not null;
-- read/messages.rs: sent to a wallet
create index messages_recipient on derived.messages (recipient, sent_ns, id) where recipient is not null;

-- Copies of messages after the first, with what the message is when the copies before are erased.
create table derived.message_copies (
    position     bigint   primary key,
    sent_ns      bigint   not null,
    id           uuid     not null,
    conversation uuid     not null,
    verification smallint not null
);
-- read/envelopes.rs: the copies of a message
create index message_copies_message on derived.message_copies (sent_ns, id, position);

-- Why the messages at these positions cannot be read.
create table derived.undecodables (
    position   bigint   primary key,
    topic_kind smallint not null,
    reason     text     not null
);

-- Envelopes and bytes by the envelopes' own minute (and hour) since 1970, payload kind, topic kind and generation.
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

-- Invitations of V3 installations to groups, as a node relays them: one row an envelope. The installation is the key that
-- the topic names; what a pointer points to stands under a key that is no installation's.
create table derived.welcomes (
    position          bigint  primary key,
    installation      bytea   not null,
    published_ns      bigint  not null,
    digest            bytea   not null,
    wrapper_algorithm integer not null, -- the network's number
    hpke_public_key   bytea,
    is_pointer        boolean not null,
    size              integer not null  -- of the sealed part, in bytes
);
-- read/welcomes.rs: for an installation
create index welcomes_installation on derived.welcomes (installation, published_ns, position);
-- read/welcomes.rs: by the time of the envelope
create index welcomes_time on derived.welcomes (published_ns, position);
