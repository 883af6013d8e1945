-- What operators decide about who may ask. Not derived from anything, and no part of the log.
create schema access;

-- Keys of callers. The key itself is shown once, when it is made; what is kept cannot be turned back into it.
create table access.keys (
    id           text        primary key, -- stands in the key, and is no secret
    name         text        not null check (name ~ '^[A-Za-z0-9._-]{1,64}$'),
    hash         bytea       not null check (octet_length(hash) = 32), -- SHA-256 of the key's secret part
    scopes       text[]      not null check (cardinality(scopes) > 0 and scopes <@ array['read', 'push', 'admin']),
    per_minute   integer     check (per_minute > 0), -- requests; null is as many as it likes
    created_at   timestamptz not null default now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz -- to the minute
);
create unique index keys_name on access.keys (name) where revoked_at is null;

-- All that a server needs to check keys: nothing of those that are revoked or have expired.
create view access.live_keys with (security_barrier) as
    select id, name, hash, scopes, per_minute, expires_at
      from access.keys
     where revoked_at is null and (expires_at is null or expires_at > now());

-- Writes down that keys are in use, for those who may do nothing else with them.
create function access.touch(used text[]) returns void
    language sql security definer set search_path = '' as $$
    update access.keys set last_used_at = date_trunc('minute', now())
     where id = any(used) and (last_used_at is null or last_used_at < date_trunc('minute', now()))
$$;
revoke all on function access.touch(text[]) from public;

-- Messages of the log, but for those of private stores: all that readers may see of them.
create view ground.messages with (security_barrier) as
    select position, message from ground.envelopes where substring(topic from 1 for 21) <> '/xmtp/0/privatestore-'::bytea;
