-- Fields whose values are in unique_values, of each source: what records have of other fields is not known. Where they
-- change, the values are taken from the records anew; so they are where nothing is noted, as after this migration.
create table unique_fields (
    source text primary key,
    fields text[] not null
);

-- From now on the hashes are ones that the database can make itself, and records that had the same value before
-- their field was unique are all known.
delete from unique_values;
alter table unique_values
    drop constraint unique_values_pkey,
    add primary key (source, field, value_hash, external_id);
