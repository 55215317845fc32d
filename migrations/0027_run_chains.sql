-- Why each chain of requests of a run ended, and whether it has all that it was to read.
create table run_chains (
    run_id bigint not null references etl_runs (id) on delete cascade,
    -- Its last slice: its lane is slice / 2^32.
    slice bigint not null,
    stop_reason text not null check (stop_reason <> ''),
    complete boolean not null,
    note text,
    ended_at timestamptz not null default now(),
    primary key (run_id, slice),
    check (complete or note is not null)
);

-- How many of them may lack something: such a run is no success.
alter table etl_runs add column incomplete_chains bigint not null default 0;
alter table etl_runs add constraint etl_runs_chains_complete_check check (
    status not in ('success', 'success_with_duplicates') or incomplete_chains = 0
) not valid;
