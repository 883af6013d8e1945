-- How far discovery is: legacy history is reachable only by the names of topics, and most names follow from wallets.
-- Kept between runs, so that what was read once is never asked for again.

create table ground.crawl_accounts (
    address bytea   primary key,
    depth   integer not null,               -- steps from a seed
    visited boolean not null default false  -- its topics are in crawl_topics
);
create index crawl_accounts_waiting on ground.crawl_accounts (depth, address) where not visited;

create table ground.crawl_topics (
    topic       text    primary key,
    depth       integer not null,
    lower_case  boolean not null default false, -- the spelling of early clients: a second try
    cursor      bytea,                          -- the last row read
    envelopes   bigint  not null default 0,
    invitations bigint  not null default 0,     -- genuine ones to the owner: each opens a conversation whose name is sealed
    done        boolean not null default false,
    cut_off     boolean not null default false, -- more than the budget of one topic
    refused     text                            -- what the node said
);
create index crawl_topics_waiting on ground.crawl_topics (depth, cursor nulls first, topic)
    where not done and not cut_off and refused is null;
