-- API pages whose every record stands in unified_records just as the page says it: normalizing
-- such a page once more would change nothing.
create table settled_pages (
    source text not null,
    body_hash bytea not null check (octet_length(body_hash) = 16),
    -- Of all that decides how rows become records: with another mapping the page says other things.
    mapping_hash bytea not null check (octet_length(mapping_hash) = 16),
    -- The run that normalized it last.
    run_id bigint not null,
    records bigint not null check (records >= 0),
    quarantined bigint not null check (quarantined >= 0),
    -- For each record the hash of its key, 8 bytes, the lowest first.
    keys bytea not null check (octet_length(keys) = 8 * records),
    primary key (source, body_hash)
);

-- Hashes cannot be compressed.
alter table settled_pages alter column keys set storage external;
