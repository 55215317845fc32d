-- Records that their source does not show any more: marked as deleted (`unified_records.deleted_at`) once a run,
-- or several in a row, has read all of the source without them.

-- The keys that the batches of a run have seen, 8 bytes each: sorted hashes, little-endian. Only of sources with
-- [missing], and only until a run has ended.
create table seen_keys (
    source text not null,
    run_id bigint not null,
    first_slice bigint not null,
    rows text not null,
    keys bytea not null,
    -- Rows that were set aside and have no key that could be read.
    without_key bigint not null default 0,
    primary key (source, run_id, first_slice, rows)
);

-- Records that the last complete run did not see, and that are not marked as deleted, yet or because that was
-- too many.
create table missing_records (
    source text not null,
    external_id text not null,
    since timestamptz not null default now(),
    -- Complete runs in a row that did not see it; the last of them.
    runs integer not null default 1,
    run_id bigint not null,
    -- Held back: they were more than [missing] allows. `runs accept-deletions` marks them.
    held_back boolean not null default false,
    primary key (source, external_id)
);

create index unified_records_deleted on unified_records (source, external_id) where deleted_at is not null;
