-- What people do to runs and sources: pausing, resuming, retrying.

-- Every pause a source ever had; one of them at most is in force.
create table source_pauses (
    source text not null check (source ~ '^[a-z][a-z0-9_]{0,62}$'),
    paused_at timestamptz not null default clock_timestamp(),
    paused_by text not null,
    reason text not null check (length(reason) between 1 and 1000),
    resumed_at timestamptz,
    resumed_by text,
    resume_reason text check (length(resume_reason) between 1 and 1000),
    primary key (source, paused_at),
    check ((resumed_at is null) = (resumed_by is null)),
    check (resume_reason is null or resumed_at is not null)
);

create unique index source_pauses_one_in_force on source_pauses (source)
where resumed_at is null;

-- Since when a task is open: it was planned, or opened again by a retry. Pauses are taken off.
alter table run_tasks add column opened_at timestamptz not null default now();

-- Of the inserted rows, those that are applied again by a retry and have not been met yet: they are
-- known then, and count as inserted all the same, but not once more.
alter table etl_runs add column inserted_before bigint not null default 0
    check (inserted_before >= 0);
