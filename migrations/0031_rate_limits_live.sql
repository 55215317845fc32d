-- A bucket says what it is: what the job file that took a token last declared, what the API said last, and another
-- limit that is in force for a while. A bucket without a declared limit only says for how long nobody asks.
alter table rate_limits
add column requests integer check (requests > 0),
add column per_seconds double precision check (per_seconds > 0),
add column remaining bigint,
add column reset_at timestamptz,
add column told_at timestamptz,
add column override_requests integer check (override_requests > 0),
add column override_per_seconds double precision check (override_per_seconds > 0),
add column override_until timestamptz,
add column override_by text,
add column override_at timestamptz,
add constraint rate_limits_override_check check (
    num_nulls(override_requests, override_per_seconds, override_by, override_at) in (0, 4)
    and (override_requests is not null or override_until is null)
);

-- How often an API told a task to come later, and how long it waited for that: both are bounded.
alter table run_tasks
add column times_told_to_wait integer not null default 0,
add column told_to_wait_seconds double precision not null default 0;
