-- Rows that are alike in the order in which people read them: those that are there still first, then by place. The words of
-- `status` stand in that order: `open`, `redriven`, `resolved`, `superseded`. So one index finds all of them, those of a
-- status, and those that are there still. Field and reason are part of what makes a fingerprint, so a place has one row.
drop index quarantined_rows_by_fingerprint;
create index quarantined_rows_alike
on quarantined_rows (source, fingerprint, status, raw_ref, raw_row);
