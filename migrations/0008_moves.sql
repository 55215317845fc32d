-- Whether a run moves, and what moved last. A move: a task of the run settled, or a try of it ended.
-- Moves of a run are numbered under the lock on its row: whoever sees the number sees what moved.
alter table etl_runs
    add column moves bigint not null default 0,
    -- When it moved last, began, was retried or resumed.
    add column moved_at timestamptz not null default now(),
    -- Tasks known so far, those that have settled included.
    add column tasks integer not null default 0;

update etl_runs set tasks = counted.tasks
from (select run_id, count(*) as tasks from run_tasks group by run_id) as counted
where id = counted.run_id;

alter table etl_runs alter column tasks set default 1;

-- The number of the last move that was this task's; null when it has not moved.
alter table run_tasks add column last_move bigint;

-- Both contain few tasks for most of their lives, or none: neither costs a task that is planned.
create index run_tasks_by_move on run_tasks (run_id, last_move) where last_move is not null;
create index run_tasks_put_off on run_tasks (run_id) where next_attempt_at is not null;

-- Active runs in which nothing has moved for 2 minutes, though something could have: the source is
-- not paused, and not every open task is put off to a time that is still to come or has just been.
-- The only place that says how long is long.
create view stalled_runs as
select r.id
from etl_runs as r
where r.status in ('queued', 'running')
    and r.moved_at < now() - interval '2 minutes'
    and not exists (
        select from source_pauses as p where p.source = r.source and p.resumed_at is null
    )
    and r.open_tasks > (
        select count(*) from run_tasks as t
        where t.run_id = r.id and t.next_attempt_at > now() - interval '2 minutes'
    );
