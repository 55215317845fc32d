-- What a task does for its run, whatever kind of source it is of: what follows when it ends depends on that
-- alone, so that a further kind of task needs no change of a statement, nor of this table.
alter table run_tasks drop constraint run_tasks_kind_check;
alter table run_tasks add constraint run_tasks_kind_check check (kind ~ '^[a-z][a-z0-9_]{0,62}$');

-- Most tasks read: with this default the others only have to be rewritten.
alter table run_tasks add column role text not null default 'read';
update run_tasks set role = case kind
    when 'plan_run' then 'plan'
    when 'normalize_batch' then 'normalize'
    else 'snapshot'
end
where kind in ('plan_run', 'normalize_batch', 'snapshot_schema');
alter table run_tasks alter column role drop default;
alter table run_tasks add constraint run_tasks_role_check
    check (role in ('plan', 'read', 'normalize', 'snapshot', 'deliver'));

-- A task that reads a stream slice by slice has all its attempts for each slice: those that were spent on the
-- slices in front.
alter table run_tasks add column attempts_before integer not null default 0;

drop index run_tasks_that_read;
create index run_tasks_that_read on run_tasks (run_id, first_slice) where role = 'read';

drop index run_tasks_in_order;
create index run_tasks_in_order on run_tasks (run_id, first_slice)
where role = 'normalize' and payload ->> 'rows' <> 'single';

create or replace view run_slices as
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
    t.rows_read,
    t.role
from run_tasks as t
inner join etl_runs as r on r.id = t.run_id
where
    t.role = 'read' and t.state = 'done' and t.result is not null
    and r.mode <> 'replay' and r.finished_at is not null;
