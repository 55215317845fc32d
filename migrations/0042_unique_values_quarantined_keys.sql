-- Which record of a source has a value that no other may have: fields with `unique = true`. A hash stands for the value. What
-- belongs to a record that is deleted, or not there any more, is free.
create table unique_values (
    source text not null,
    field text not null,
    value_hash bytea not null check (octet_length(value_hash) = 16),
    external_id text not null,
    primary key (source, field, value_hash)
);

-- What a record had before it got another value.
create index unique_values_of_records on unique_values (source, external_id);

-- The key that the record of a row that was set aside would have, where it can be told.
alter table quarantined_rows add column external_id text;
