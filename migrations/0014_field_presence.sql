-- What earlier runs had of each field of a source's job file: where it was read from, how many records
-- had a value, and whether all of them did. A row a source; the job file bounds its size.
create table field_presence (
    source text primary key,
    fields jsonb not null check (jsonb_typeof(fields) = 'object'),
    -- The run that it was last renewed by.
    run_id bigint not null references etl_runs (id)
);

-- How many records of the page there are, and how many lack a value of which field. Null in rows of
-- earlier versions.
alter table settled_pages add column gaps jsonb;
