-- What the pages of a run under way have that no other page of their lane may have: hashes of their requests and of
-- their records. Where one comes again, the API leads in a circle. Removed when the run has ended well.
create table run_pages (
    run_id bigint not null references etl_runs (id) on delete cascade,
    lane bigint not null,
    hash bytea not null check (octet_length(hash) = 32),
    slice bigint not null,
    name text not null,
    primary key (run_id, lane, hash)
);
