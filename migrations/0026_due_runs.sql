-- `after` in job files: runs that follow the run of another source.

alter table etl_runs drop constraint etl_runs_trigger_check;
alter table etl_runs add constraint etl_runs_trigger_check
    check (trigger in ('api', 'schedule', 'cli', 'retry', 'after'));

-- Runs that must follow one that has ended, and could not start with its end: the source was paused or had
-- an active run, or its job file could not be read.
create table due_runs (
    -- '*': every source whose job file names `after`; the folder of job files could not be read.
    source text not null,
    -- The source whose run has ended; its newest such run.
    after text not null,
    run_id bigint not null,
    noted_at timestamptz not null default now(),
    primary key (source, after)
);
