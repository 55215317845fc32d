-- Runs that read nothing (replay), runs that write nothing (dry run), and what became of rows that
-- were set aside.

alter table etl_runs drop constraint etl_runs_mode_check;
alter table etl_runs add constraint etl_runs_mode_check
    check (mode in ('incremental', 'full', 'replay'));

-- The runs whose raw rows a replay normalizes again, both included.
alter table etl_runs add column replay_from bigint;
alter table etl_runs add column replay_to bigint;
alter table etl_runs add constraint etl_runs_replay_check check (
    (mode = 'replay') = (replay_from is not null)
    and (replay_from is null) = (replay_to is null)
    and replay_from <= replay_to
);

alter table etl_runs add column dry_run boolean not null default false;

-- redriven: put through again, and set aside again. superseded: the source says something else
-- today: the file was read in a later version.
alter table quarantined_rows drop constraint quarantined_rows_status_check;
alter table quarantined_rows add constraint quarantined_rows_status_check
    check (status in ('open', 'redriven', 'resolved', 'superseded'));

-- What ended runs have read, slice by slice: where its rows are kept, and how they are told apart
-- from those of other slices.
create view run_slices as
select
    r.source,
    t.run_id,
    t.first_slice as slice,
    t.kind,
    t.payload,
    t.result,
    t.result ->> 'raw' as raw_ref,
    (t.payload -> 'chunk' ->> 'index')::integer as chunk,
    t.bytes,
    t.rows_read
from run_tasks as t
inner join etl_runs as r on r.id = t.run_id
where
    t.kind in ('fetch_page', 'parse_csv_chunk') and t.state = 'done' and t.result is not null
    and r.mode <> 'replay' and r.finished_at is not null;
