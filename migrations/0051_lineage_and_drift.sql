-- What the console shows of a record, and of changes of schemas: rows of a key that were set aside, how many rows have a
-- field that changed, who has looked at it.

-- A key has 2,000 bytes at most.
create index quarantined_rows_by_key on quarantined_rows (source, external_id, run_id)
where external_id is not null;

alter table schema_drift
    add column id bigint generated always as identity unique,
    -- Rows that the run read which saw it, and those of them with a value in the field; null where nobody counted.
    add column rows_seen bigint,
    add column rows_with_value bigint,
    add column acknowledged_at timestamptz,
    add column acknowledged_by text,
    add column note text;

update schema_drift set acknowledged_at = detected_at, acknowledged_by = 'unknown'
where status = 'acknowledged';

alter table schema_drift
    add constraint schema_drift_acknowledged_check
        check ((status = 'acknowledged') = (acknowledged_at is not null)
            and (acknowledged_at is null) = (acknowledged_by is null)
            and (note is null or acknowledged_at is not null)),
    add constraint schema_drift_rows_check
        check ((rows_seen is null) = (rows_with_value is null) and rows_with_value between 0 and rows_seen);

-- The newest run first; a run is of one source.
create index schema_drift_in_order on schema_drift (run_id desc, field);
create index schema_drift_open on schema_drift (run_id desc, field) where status = 'open';
create index schema_drift_by_source on schema_drift (source, run_id desc, field);
