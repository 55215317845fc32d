-- What is remembered of a file besides where it was read to, so that a run that passes over it can
-- say how it stands without a look at its rows.

-- The most fields that a row of it has, where shorter rows are filled up; null where they are not, and
-- where an earlier version of kasparro read it.
alter table source_files add column committed_width integer;

-- Rows of it that are in quarantine, counted at the end of each run that judges them.
alter table source_files add column quarantined_rows bigint not null default 0;

update source_files as f set quarantined_rows = q.rows
from (
    select source, raw_ref, count(distinct raw_row) as rows
    from quarantined_rows
    where status in ('open', 'redriven') and raw_ref like 'file/%'
    group by source, raw_ref
) as q
where q.source = f.source and q.raw_ref = 'file/' || f.id;

-- The run that did not find it any more; null while it is there.
alter table source_files add column gone_run_id bigint;
