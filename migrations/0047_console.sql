-- What the console shows and nothing else keeps: when attempts began and how they ended, what quarantine adds up to,
-- who is signed in.

-- When the attempt began that ended the task, or the last one that ended before it.
alter table run_tasks add column begun_at timestamptz;

-- Attempts that failed. A task of which none did has no row.
create table task_attempts (
    id bigint generated always as identity primary key,
    run_id bigint not null,
    task_key text not null,
    attempt integer not null,
    -- Null where a worker was lost: it said nothing.
    worker text,
    begun_at timestamptz,
    ended_at timestamptz not null default now(),
    -- The word of its kind, such as `timed_out` or `worker_lost`.
    error_kind text not null,
    error text not null,
    foreign key (run_id, task_key) references run_tasks (run_id, task_key) on delete cascade
);

create index task_attempts_by_task on task_attempts (run_id, task_key);

-- What the defects of a source that are alike add up to. Kept by triggers, whoever writes the table.
create table quarantine_totals (
    source text not null,
    fingerprint bytea not null,
    -- Empty when the row as a whole is bad.
    field text not null,
    reason text not null,
    -- Defects that are open or redriven: they are there still.
    unresolved bigint not null check (unresolved >= 0),
    -- All that are stored, whatever became of them.
    stored bigint not null check (stored >= unresolved),
    first_run_id bigint not null,
    -- The last run that found one that was not known before, and how many it found.
    last_run_id bigint not null,
    last_run_rows bigint not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    -- The message of one of them.
    example text not null,
    primary key (source, fingerprint)
);

create index quarantine_totals_unresolved on quarantine_totals (unresolved desc, source, field, reason)
where unresolved > 0;

-- How many that were not known before were found on each day, in UTC.
create table quarantine_days (
    source text not null,
    fingerprint bytea not null,
    day date not null,
    rows bigint not null check (rows >= 0),
    primary key (source, fingerprint, day)
);

-- Who changes the totals of a source waits for whoever does, until that one commits. Without it, two that change
-- several of them could wait for each other.
create function lock_quarantine_totals(sources text[]) returns void language plpgsql as $$
declare
    of_source text;
begin
    for of_source in select distinct s from unnest(sources) as s order by s loop
        perform pg_advisory_xact_lock(hashtextextended('quarantine_totals ' || of_source, 0));
    end loop;
end
$$;

create function count_quarantined() returns trigger language plpgsql as $$
begin
    perform lock_quarantine_totals(array(select distinct source from added));
    insert into quarantine_totals as t
    select
        source, fingerprint, min(field), min(reason), sum(unresolved), sum(stored), min(run_id), max(run_id),
        (array_agg(stored order by run_id desc))[1], min(first_seen_at), max(last_seen_at), min(example)
    from (
        select
            source, fingerprint, run_id, min(field) as field, min(reason) as reason, count(*) as stored,
            count(*) filter (where status in ('open', 'redriven')) as unresolved,
            min(created_at) as first_seen_at, max(created_at) as last_seen_at, min(message) as example
        from added group by source, fingerprint, run_id
    ) as of_runs
    group by source, fingerprint
    order by source, fingerprint
    on conflict (source, fingerprint) do update set
        unresolved = t.unresolved + excluded.unresolved,
        stored = t.stored + excluded.stored,
        first_run_id = least(t.first_run_id, excluded.first_run_id),
        last_run_id = greatest(t.last_run_id, excluded.last_run_id),
        last_run_rows = case
            when excluded.last_run_id > t.last_run_id then excluded.last_run_rows
            when excluded.last_run_id = t.last_run_id then t.last_run_rows + excluded.last_run_rows
            else t.last_run_rows
        end,
        first_seen_at = least(t.first_seen_at, excluded.first_seen_at),
        last_seen_at = greatest(t.last_seen_at, excluded.last_seen_at),
        example = case when t.unresolved = 0 then excluded.example else t.example end;
    insert into quarantine_days as d
    select source, fingerprint, (created_at at time zone 'UTC')::date, count(*)
    from added group by 1, 2, 3 order by 1, 2, 3
    on conflict (source, fingerprint, day) do update set rows = d.rows + excluded.rows;
    return null;
end
$$;

create function count_resolved() returns trigger language plpgsql as $$
begin
    perform lock_quarantine_totals(array(select distinct source from after));
    update quarantine_totals as t set unresolved = t.unresolved + change.unresolved
    from (
        select source, fingerprint, sum(unresolved) as unresolved
        from (
            select source, fingerprint, 1 as unresolved from after where status in ('open', 'redriven')
            union all
            select source, fingerprint, -1 from before where status in ('open', 'redriven')
        ) as each
        group by source, fingerprint
        having sum(unresolved) <> 0
    ) as change
    where t.source = change.source and t.fingerprint = change.fingerprint;
    return null;
end
$$;

create function count_removed() returns trigger language plpgsql as $$
begin
    perform lock_quarantine_totals(array(select distinct source from removed));
    update quarantine_totals as t set
        unresolved = t.unresolved - change.unresolved, stored = t.stored - change.stored
    from (
        select
            source, fingerprint, count(*) as stored,
            count(*) filter (where status in ('open', 'redriven')) as unresolved
        from removed group by source, fingerprint
    ) as change
    where t.source = change.source and t.fingerprint = change.fingerprint;
    delete from quarantine_days as d using quarantine_totals as t
    where t.stored = 0 and d.source = t.source and d.fingerprint = t.fingerprint
      and t.source in (select source from removed);
    delete from quarantine_totals
    where stored = 0 and source in (select source from removed);
    return null;
end
$$;

create function forget_quarantine_totals() returns trigger language plpgsql as $$
begin
    delete from quarantine_totals;
    delete from quarantine_days;
    return null;
end
$$;

-- What is there already. The lock keeps it so until the triggers count.
do $$ begin lock table quarantined_rows in share row exclusive mode; end $$;

insert into quarantine_totals
select
    source, fingerprint, min(field), min(reason), sum(unresolved), sum(stored), min(run_id), max(run_id),
    (array_agg(stored order by run_id desc))[1], min(first_seen_at), max(last_seen_at), min(example)
from (
    select
        source, fingerprint, run_id, min(field) as field, min(reason) as reason, count(*) as stored,
        count(*) filter (where status in ('open', 'redriven')) as unresolved,
        min(created_at) as first_seen_at, max(created_at) as last_seen_at, min(message) as example
    from quarantined_rows group by source, fingerprint, run_id
) as of_runs
group by source, fingerprint;

insert into quarantine_days
select source, fingerprint, (created_at at time zone 'UTC')::date, count(*)
from quarantined_rows group by 1, 2, 3;

create trigger count_quarantined after insert on quarantined_rows
referencing new table as added for each statement execute function count_quarantined();
create trigger count_resolved after update on quarantined_rows
referencing old table as before new table as after for each statement execute function count_resolved();
create trigger count_removed after delete on quarantined_rows
referencing old table as removed for each statement execute function count_removed();
create trigger forget_quarantine_totals after truncate on quarantined_rows
for each statement execute function forget_quarantine_totals();

-- Browsers that are signed in to the console. A session is as good as the token it was opened with, and ends with it.
create table console_sessions (
    -- SHA-256 of what the cookie says.
    hash bytea primary key check (octet_length(hash) = 32),
    token_id text not null references api_tokens (id) on delete cascade,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);

create index console_sessions_of_tokens on console_sessions (token_id);

-- The runs that loaded something, for how fresh a source is.
create index etl_runs_that_loaded on etl_runs (source, id desc)
where status in ('success', 'success_with_duplicates', 'degraded') and not dry_run and mode <> 'replay';
