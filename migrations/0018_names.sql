-- The field's own names for tables, columns and stored words: renames in the catalogue, and one update of
-- the few tasks that failed. No table is rewritten. Processes of earlier versions know the old names only:
-- stop them all before this migration.
drop view runs_now;
drop function run_books;

-- The progress of runs under way: what a run adds up to after each attempt of a task that ended. Each row has
-- the next number of its run.
alter table run_moves rename to run_progress;
alter table run_progress rename column moves to sequence;
alter table run_progress rename column moved_at to last_progress_at;
alter table run_progress rename column dead_tasks to failed_tasks;

alter table etl_runs rename column moves to sequence;
alter table etl_runs rename column moved_at to last_progress_at;
alter table etl_runs rename column dead_tasks to failed_tasks;

alter table run_tasks rename column last_move to last_sequence;
alter index run_tasks_by_move rename to run_tasks_by_sequence;

-- A task that was given up has failed, as its run then has.
alter table run_tasks drop constraint run_tasks_state_check;
update run_tasks set state = 'failed' where state = 'dead';
alter table run_tasks add constraint run_tasks_state_check
    check (state in ('open', 'done', 'failed', 'cancelled'));

-- API pages that say nothing new: an incremental run skips them.
alter table settled_pages rename to unchanged_pages;

-- PostgreSQL named constraints after their tables and columns, from version 18 on those of `not null` too.
do $$
declare
    c record;
begin
    for c in
        select conrelid::regclass as of_table, conname as old,
            replace(replace(replace(replace(replace(conname,
                'run_moves', 'run_progress'), '_moves_', '_sequence_'),
                'moved_at', 'last_progress_at'), 'dead_tasks', 'failed_tasks'),
                'settled_pages', 'unchanged_pages') as new
        from pg_constraint
        where conrelid in (
            'run_progress'::regclass, 'etl_runs'::regclass, 'unchanged_pages'::regclass
        )
    loop
        if c.new <> c.old then
            execute format('alter table %s rename constraint %I to %I', c.of_table, c.old, c.new);
        end if;
    end loop;
end
$$;

-- The latest progress of a run under way. A function for its setting: what is planned while the table is
-- small would read all of it, and go on to do so when it has grown.
create function latest_run_progress(run bigint) returns setof run_progress
language plpgsql
stable
rows 1
set enable_seqscan = off
as $$
begin
    return query select * from run_progress where run_id = run order by sequence desc limit 1;
end
$$;

-- Runs with their live figures, and whether they stall: no progress for 2 minutes, though there could be
-- some, since the source is not paused, and not every open task waits for a time that is still to come or
-- has just been. The only place that says how long is long.
create view runs_live as
select
    r.id, r.source, r.status, r.mode, r.trigger, r.access, r.config_hash, r.replay_from, r.replay_to,
    r.dry_run, r.created_at, r.started_at, r.finished_at, r.error, r.stop_reason,
    live.*,
    r.status in ('queued', 'running')
    and live.last_progress_at < now() - interval '2 minutes'
    and not exists (
        select from source_pauses as p where p.source = r.source and p.resumed_at is null
    )
    and live.open_tasks > (
        select count(*) from run_tasks as t
        where t.run_id = r.id and t.next_attempt_at > now() - interval '2 minutes'
    ) as stalled
from etl_runs as r
left join lateral (
    select * from latest_run_progress(r.id) where r.status in ('queued', 'running')
) as latest on true
cross join lateral (
    select
        coalesce(latest.sequence, r.sequence) as sequence,
        greatest(latest.last_progress_at, r.last_progress_at) as last_progress_at,
        coalesce(latest.tasks, r.tasks) as tasks,
        coalesce(latest.open_tasks, r.open_tasks) as open_tasks,
        coalesce(latest.failed_tasks, r.failed_tasks) as failed_tasks,
        coalesce(latest.slices, r.slices) as slices,
        coalesce(latest.bytes, r.bytes) as bytes,
        coalesce(latest.rows_read, r.rows_read) as rows_read,
        coalesce(latest.inserted, r.inserted) as inserted,
        coalesce(latest.updated, r.updated) as updated,
        coalesce(latest.unchanged, r.unchanged) as unchanged,
        coalesce(latest.quarantined, r.quarantined) as quarantined,
        coalesce(latest.inserted_before, 0) as inserted_before
) as live;
