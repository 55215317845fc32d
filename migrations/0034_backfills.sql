-- Runs that read a range of an incremental source: from where on, and up to where, in the words of the watermark.
alter table etl_runs add column read_from text;
alter table etl_runs add column read_to text;
alter table etl_runs add constraint etl_runs_backfill_check check (
    (read_from is null or mode = 'incremental') and (read_to is null or read_from is not null)
);

-- How far the last backfill of a source has come. A table of its own: nothing that such a run leaves can be taken
-- for the watermark, also not by a worker of an earlier version.
create table backfill_checkpoints (
    source text primary key,
    read_from text not null,
    read_to text,
    state jsonb not null,
    run_id bigint not null references etl_runs (id),
    updated_at timestamptz not null default now()
);

create or replace view runs_live as
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
    ) as stalled,
    r.read_from, r.read_to
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
