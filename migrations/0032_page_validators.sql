-- By what a server tells that a page has not changed since it was read: asked again with these, it answers 304 and
-- sends nothing. Only for the definition that it was read with: another may ask with other headers.
create table page_validators (
    source text not null,
    -- Of method, address without secrets, and body.
    request_hash bytea not null check (octet_length(request_hash) = 32),
    page_hash bytea not null check (octet_length(page_hash) in (16, 32)),
    config_hash bytea not null,
    etag text,
    last_modified text,
    -- What stood beside the body, a list of texts for each name.
    headers jsonb not null,
    run_id bigint not null,
    seen_at timestamptz not null default now(),
    primary key (source, request_hash),
    check (num_nonnulls(etag, last_modified) > 0)
);
