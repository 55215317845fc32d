-- What a source with `schedule = "on_change"` had when a run was started for it last, or was found to have seen it.
create table watched_sources (
    source text primary key,
    listing_hash bytea not null check (octet_length(listing_hash) = 32),
    run_id bigint references etl_runs (id) on delete set null,
    noted_at timestamptz not null default now()
);
