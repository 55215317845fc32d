-- A value belongs to the oldest record that has it: that one is found without reading all that share it. What records
-- that are deleted have had is not kept any more.
alter table unique_values
    drop constraint unique_values_pkey,
    -- What an earlier version adds is younger than all.
    add column created_at timestamptz not null default 'infinity',
    add column raw_row bigint not null default 0,
    add primary key (source, external_id, field);
drop index unique_values_of_records;

delete from unique_values as u
using unified_records as r
where r.source = u.source and r.external_id = u.external_id and r.deleted_at is not null;
update unique_values as u set created_at = r.created_at, raw_row = r.raw_row
from unified_records as r
where r.source = u.source and r.external_id = u.external_id;

create index unique_values_by_age on unique_values (source, field, value_hash, created_at, raw_row, external_id);

-- What a key had before the run that changed it last, and how many rows of that run count as updates of it: once it is as
-- it was, they count as unchanged. Null where the run has inserted it.
alter table unified_records
    add column hash_before_run bytea,
    add column updates_in_run integer;
