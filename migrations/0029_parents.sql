-- Children: sources that ask an API once for each parent, mostly a record of another source (`for_each`).

-- Up to where the children of each parent have been read.
create table parent_progress (
    source text not null,
    -- The parent: its `external_id`, or a value of the job file.
    parent_key text not null,
    -- The content that its record had when its children were read last; null when they are to be read again.
    parent_hash bytea,
    -- What was asked for then: under another job file they are read again.
    asked text,
    done_run bigint,
    done_at timestamptz,
    -- Runs in a row in which its children could not be read, the last of them, and why.
    attempts integer not null default 0 check (attempts >= 0),
    failed_run bigint,
    error text,
    primary key (source, parent_key)
);

-- The parents that a run asks for, as they were when it was planned. Only until it has ended.
create table run_parents (
    run_id bigint not null,
    -- The lane of slices that asks for it; several parents may share one.
    lane bigint not null,
    -- Its place among all, from 0.
    place bigint not null,
    parent_key text not null,
    parent_hash bytea,
    -- What requests and children are told of it.
    fields jsonb not null,
    -- Whether its children could not be read, and those of others could.
    failed boolean not null default false,
    primary key (run_id, lane, place)
);

-- The keys of the children of each parent, sorted hashes of 8 bytes, little-endian. Only of sources with [missing].
create table parent_keys (
    source text not null,
    parent_key text not null,
    run_id bigint not null,
    -- The batch that saw them.
    first_slice bigint not null,
    keys bytea not null,
    -- Whether all children of the parent were read again since: those that are not among them are gone.
    stale boolean not null default false,
    primary key (source, parent_key, run_id, first_slice)
);

create index parent_keys_stale on parent_keys (source) where stale;

-- How many of the failed tasks were those of such parents: with these alone a run is degraded, not failed.
alter table etl_runs add column failed_alone integer not null default 0 check (failed_alone >= 0);
alter table etl_runs drop constraint etl_runs_no_failed_task_check;
alter table etl_runs add constraint etl_runs_no_failed_task_check check (
    (status not in ('success', 'success_with_duplicates') or failed_tasks = 0)
    and (status <> 'degraded' or failed_tasks = failed_alone)
) not valid;
