-- Topics by kind or wallet in the order in which they were first seen; kind or wallet alone are sought in these as well.
-- About the lock and the order, see V6.
lock table derived.watermarks in exclusive mode;
create index topic_names_kind_first  on derived.topic_names (kind, first_seen_ns, key);
create index topic_names_owner_first on derived.topic_names (owner, first_seen_ns, key) where owner is not null;
create index topic_names_peer_first  on derived.topic_names (peer, first_seen_ns, key) where peer is not null;
drop index derived.topic_names_kind, derived.topic_names_owner, derived.topic_names_peer;
