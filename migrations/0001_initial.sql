-- Control tables carry foreign keys and checks. Bulk tables (raw_*, unified_records,
-- quarantined_rows) carry neither foreign keys nor sequences, and each of their unique keys contains
-- the column they would be distributed by, so that the same schema can run on Citus.

-- Control -------------------------------------------------------------------------------------

-- The job files as they were when a run used them: a run keeps its definition to the end.
create table source_definitions (
    hash bytea primary key check (octet_length(hash) = 16),
    source text not null,
    path text not null,
    toml text not null,
    first_seen_at timestamptz not null default now()
);

create table etl_runs (
    id bigint generated always as identity primary key,
    source text not null check (source ~ '^[a-z][a-z0-9_]{0,62}$'),
    status text not null default 'queued' check (status in (
        'queued', 'running', 'success', 'success_with_duplicates', 'degraded', 'failed', 'cancelled'
    )),
    mode text not null check (mode in ('incremental', 'full')),
    trigger text not null check (trigger in ('api', 'schedule', 'cli', 'retry')),
    access text not null check (access in ('network', 'record', 'offline')),
    idempotency_key text check (length(idempotency_key) between 1 and 255),
    config_hash bytea not null references source_definitions (hash),
    -- The version of schema_snapshots that the contract measures rows by; null before the first.
    schema_version integer,
    -- Whether the source had no record when the run was planned: then keys need not be looked up.
    from_empty boolean not null default false,
    -- In which order slices must be applied: any, in order for repeated keys only, or in order.
    key_order text not null default 'ordered' check (key_order in ('distinct', 'split', 'ordered')),
    created_at timestamptz not null default now(),
    started_at timestamptz,
    finished_at timestamptz,
    -- Tasks that have not settled, those of them that read the source, and those that died.
    open_tasks integer not null default 0 check (open_tasks >= 0),
    open_reading_tasks integer not null default 0 check (open_reading_tasks >= 0),
    dead_tasks integer not null default 0 check (dead_tasks >= 0),
    slices bigint not null default 0,
    bytes bigint not null default 0,
    rows_read bigint not null default 0,
    inserted bigint not null default 0,
    updated bigint not null default 0,
    unchanged bigint not null default 0,
    quarantined bigint not null default 0,
    error text,
    stop_reason text,
    unique (source, idempotency_key),
    check ((finished_at is null) = (status in ('queued', 'running'))),
    check (finished_at is null or open_tasks = 0)
);

create unique index etl_runs_one_active_per_source on etl_runs (source)
where status in ('queued', 'running');

create index etl_runs_by_source on etl_runs (source, id desc);

-- The ledger: every task a run ever had, what it was told, what became of it.
create table run_tasks (
    run_id bigint not null references etl_runs (id) on delete cascade,
    task_key text not null,
    kind text not null check (kind in (
        'plan_run', 'fetch_page', 'parse_csv_chunk', 'normalize_batch', 'snapshot_schema'
    )),
    state text not null default 'open' check (state in ('open', 'done', 'dead', 'cancelled')),
    -- The slice a reading task reads, or the range of slices that a batch normalizes.
    first_slice bigint,
    last_slice bigint,
    payload jsonb not null,
    attempt integer not null default 0,
    worker text,
    created_at timestamptz not null default now(),
    next_attempt_at timestamptz,
    done_at timestamptz,
    error text,
    result jsonb,
    slices bigint not null default 0,
    bytes bigint not null default 0,
    rows_read bigint not null default 0,
    inserted bigint not null default 0,
    updated bigint not null default 0,
    unchanged bigint not null default 0,
    quarantined bigint not null default 0,
    primary key (run_id, task_key),
    check ((state = 'open') = (done_at is null)),
    check ((first_slice is null) = (last_slice is null))
);

-- Which slice is next to normalize is asked after every task.
create index run_tasks_by_slice on run_tasks (run_id, kind, first_slice);

-- The keys, by their hashes, that occur in several rows of a run.
create table run_repeated_keys (
    run_id bigint primary key references etl_runs (id) on delete cascade,
    hashes bigint[] not null
);

create table ingestion_checkpoints (
    source text primary key,
    last_processed_marker text not null,
    records bigint not null check (records >= 0),
    state jsonb not null,
    run_id bigint not null references etl_runs (id),
    updated_at timestamptz not null default now()
);

-- One row per version of a file. The committed columns describe what successful runs have read.
create table source_files (
    id bigint generated always as identity primary key,
    source text not null,
    url text not null,
    etag text,
    size bigint not null,
    modified_ns bigint not null,
    content_hash bytea not null check (octet_length(content_hash) = 16),
    layout jsonb not null,
    -- A version that grew by appending is cut into other chunks than one read at once.
    appended boolean not null default false,
    committed_bytes bigint not null default 0,
    committed_rows bigint not null default 0,
    committed_lines bigint not null default 0,
    committed_chunks integer not null default 0,
    committed_run_id bigint references etl_runs (id),
    -- Hash of the job file it was read with: another job file means other records.
    definition_hash bytea,
    first_run_id bigint not null references etl_runs (id),
    updated_at timestamptz not null default now()
);

create index source_files_by_url on source_files (source, url, id desc);

create table schema_snapshots (
    source text not null,
    version integer not null check (version >= 1),
    -- What was seen.
    schema_signature jsonb not null,
    -- What the contract measures rows by: the same, less the changes that it does not accept.
    accepted jsonb not null,
    fingerprint bytea not null check (octet_length(fingerprint) = 16),
    run_id bigint not null references etl_runs (id),
    first_seen_at timestamptz not null default now(),
    primary key (source, version)
);

create table schema_drift (
    source text not null,
    from_version integer not null,
    to_version integer not null,
    field text not null,
    change text not null check (change in ('added', 'removed', 'type_changed')),
    old_type text,
    new_type text,
    policy text not null check (policy in ('evolve', 'freeze', 'discard_value', 'quarantine_row')),
    status text not null default 'open' check (status in ('open', 'acknowledged')),
    raw_ref text,
    raw_row bigint,
    run_id bigint not null references etl_runs (id),
    detected_at timestamptz not null default now(),
    primary key (source, to_version, field),
    foreign key (source, from_version) references schema_snapshots (source, version),
    foreign key (source, to_version) references schema_snapshots (source, version)
);

-- One token bucket per key, shared by every worker.
create table rate_limits (
    key text primary key,
    tokens double precision not null,
    refilled_at timestamptz not null,
    blocked_until timestamptz
);

-- One row per cron tick that was acted upon: inserting it decides which scheduler does.
create table schedule_ticks (
    source text not null,
    tick timestamptz not null,
    outcome text not null check (outcome in ('started', 'skipped', 'baseline')),
    run_id bigint references etl_runs (id),
    primary key (source, tick)
);

-- What finished runs add up to, so that nobody counts a big table.
create table source_totals (
    source text primary key,
    records bigint not null default 0,
    slices bigint not null default 0,
    bytes bigint not null default 0,
    rows_read bigint not null default 0,
    inserted bigint not null default 0,
    updated bigint not null default 0,
    unchanged bigint not null default 0,
    quarantined bigint not null default 0
);

create table run_totals (
    source text not null,
    status text not null,
    runs bigint not null,
    primary key (source, status)
);

-- Bulk ----------------------------------------------------------------------------------------

create table raw_api_data (
    source text not null,
    body_hash bytea not null,
    run_id bigint not null,
    slice bigint not null,
    url text not null,
    status integer not null,
    records bigint not null,
    fetched_at timestamptz not null default now(),
    -- json, not jsonb: the digits stay as they came.
    body json not null,
    primary key (source, body_hash)
);

-- About 256 consecutive rows of a file, byte for byte.
create table raw_csv_blocks (
    file_id bigint not null,
    chunk integer not null,
    block integer not null,
    first_row bigint not null,
    first_line bigint not null,
    start_offset bigint not null,
    run_id bigint not null,
    source text not null,
    -- For each row the offset behind its last byte within the payload.
    row_ends integer[] not null,
    payload bytea not null,
    primary key (file_id, chunk, block)
);

do $$
begin
    alter table raw_csv_blocks alter column payload set compression lz4;
exception when feature_not_supported then
    raise notice 'this server was built without lz4; raw blocks use pglz';
end
$$;

create view raw_csv_data as
select
    b.source,
    b.run_id,
    f.url as file,
    b.file_id,
    b.first_row + r.n - 1 as row_number,
    b.start_offset + coalesce(b.row_ends[r.n - 1], 0) as byte_offset,
    substring(
        b.payload from coalesce(b.row_ends[r.n - 1], 0) + 1
        for r.row_end - coalesce(b.row_ends[r.n - 1], 0)
    ) as payload
from raw_csv_blocks as b
inner join source_files as f on f.id = b.file_id
cross join lateral unnest(b.row_ends) with ordinality as r (row_end, n);

create table unified_records (
    source text not null,
    external_id text not null,
    content_hash bytea not null,
    name text,
    description text,
    category text,
    price numeric,
    currency text,
    quantity numeric,
    url text,
    source_updated_at timestamptz,
    attributes jsonb,
    raw_ref text not null,
    raw_row bigint not null,
    first_run_id bigint not null,
    last_run_id bigint not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    deleted_at timestamptz,
    primary key (source, external_id)
);

create table quarantined_rows (
    source text not null,
    raw_ref text not null,
    raw_row bigint not null,
    -- The source's own name; empty when the row as a whole is bad.
    field text not null,
    reason text not null,
    run_id bigint not null,
    line bigint,
    byte_start bigint,
    byte_end bigint,
    message text not null,
    raw bytea not null,
    fingerprint bytea not null,
    status text not null default 'open' check (status in ('open', 'redriven', 'resolved')),
    created_at timestamptz not null default now(),
    primary key (source, raw_ref, raw_row, field, reason)
);

create index quarantined_rows_by_fingerprint on quarantined_rows (source, fingerprint);
