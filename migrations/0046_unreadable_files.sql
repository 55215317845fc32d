-- Files that could not be read, or not to their ends, through their own fault: as they are, they need not be read again,
-- which would store once more what can be read of them. A run that plans to read one again forgets it.
create table unreadable_files (
    source text not null,
    url text not null,
    -- What tells the source whether the file is still the same, in its own words.
    seen jsonb not null,
    reason text not null check (reason <> ''),
    -- The run that read it. Only what a run has finished with counts.
    run_id bigint not null references etl_runs (id) on delete cascade,
    noted_at timestamptz not null default now(),
    primary key (source, url)
);

create index on unreadable_files (run_id);
