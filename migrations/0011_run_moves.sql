-- The books of runs under way. With them in etl_runs each task left a version of its run's row, and
-- every look at the row passed over all versions that somebody's snapshot kept.

-- What a run under way adds up to after each of its moves: the last one counts. Rows are appended,
-- never changed, and leave when the run ends: then etl_runs has the figures.
create table run_moves (
    run_id bigint not null references etl_runs (id) on delete cascade,
    -- So many it had made; a retry goes on where the run had ended.
    moves bigint not null check (moves >= 0),
    moved_at timestamptz not null default clock_timestamp(),
    tasks integer not null,
    open_tasks integer not null check (open_tasks >= 0),
    -- Of the open tasks, those that read the source.
    open_reading_tasks integer not null check (open_reading_tasks >= 0),
    dead_tasks integer not null check (dead_tasks >= 0),
    slices bigint not null,
    bytes bigint not null,
    rows_read bigint not null,
    inserted bigint not null,
    updated bigint not null,
    unchanged bigint not null,
    quarantined bigint not null,
    -- Rows that are applied again by a retry and have not been met yet: they are known then, and count
    -- as inserted all the same, but not once more.
    inserted_before bigint not null default 0 check (inserted_before >= 0),
    primary key (run_id, moves)
);

insert into run_moves
select
    id, moves, moved_at, tasks, open_tasks, open_reading_tasks, dead_tasks, slices, bytes, rows_read,
    inserted, updated, unchanged, quarantined, inserted_before
from etl_runs where finished_at is null;

drop view stalled_runs;
alter table etl_runs drop column open_reading_tasks, drop column inserted_before;

-- The books of a run under way. A function for its setting: what is planned while the table is small
-- would read all of it, and go on to do so when it has grown.
create function run_books(run bigint) returns setof run_moves
language plpgsql
stable
rows 1
set enable_seqscan = off
as $$
begin
    return query select * from run_moves where run_id = run order by moves desc limit 1;
end
$$;

-- Runs with the figures of this moment, and whether they stall: nothing has moved for 2 minutes, though
-- something could have, since the source is not paused, and not every open task is put off to a time
-- that is still to come or has just been. The only place that says how long is long.
create view runs_now as
select
    r.id, r.source, r.status, r.mode, r.trigger, r.access, r.config_hash, r.replay_from, r.replay_to,
    r.dry_run, r.created_at, r.started_at, r.finished_at, r.error, r.stop_reason,
    now.*,
    r.status in ('queued', 'running')
    and now.moved_at < now() - interval '2 minutes'
    and not exists (
        select from source_pauses as p where p.source = r.source and p.resumed_at is null
    )
    and now.open_tasks > (
        select count(*) from run_tasks as t
        where t.run_id = r.id and t.next_attempt_at > now() - interval '2 minutes'
    ) as stalled
from etl_runs as r
left join lateral (
    select * from run_books(r.id) where r.status in ('queued', 'running')
) as last on true
cross join lateral (
    select
        coalesce(last.moves, r.moves) as moves,
        greatest(last.moved_at, r.moved_at) as moved_at,
        coalesce(last.tasks, r.tasks) as tasks,
        coalesce(last.open_tasks, r.open_tasks) as open_tasks,
        coalesce(last.dead_tasks, r.dead_tasks) as dead_tasks,
        coalesce(last.slices, r.slices) as slices,
        coalesce(last.bytes, r.bytes) as bytes,
        coalesce(last.rows_read, r.rows_read) as rows_read,
        coalesce(last.inserted, r.inserted) as inserted,
        coalesce(last.updated, r.updated) as updated,
        coalesce(last.unchanged, r.unchanged) as unchanged,
        coalesce(last.quarantined, r.quarantined) as quarantined,
        coalesce(last.inserted_before, 0) as inserted_before
) as now;
