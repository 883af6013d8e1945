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
create index welcomes_installation on derived.welcomes (installation, published_ns, position);
create index welcomes_time         on derived.welcomes (published_ns, position);

insert into derived.totals (name) values ('welcomes');
create trigger total after insert on derived.welcomes referencing new table as inserted
    for each statement execute function derived.add_to_total('welcomes');
create trigger no_total after truncate on derived.welcomes
    for each statement execute function derived.empty_total('welcomes');
