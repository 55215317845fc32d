-- A run that has read rows and loaded none of them is no success. Runs of earlier versions stay as
-- they were reported: the rule holds for what is written from now on.
alter table etl_runs add constraint etl_runs_success_check check (
    status not in ('success', 'success_with_duplicates')
    or rows_read = 0
    or inserted + updated + unchanged > 0
) not valid;

-- Why rows of the page were set aside: how many for each field and reason, with an example. Null when
-- none was, and in rows of earlier versions.
alter table settled_pages add column reasons jsonb;

-- guard: rows may lack a field, but what lacks it altogether stays out.
alter table schema_drift drop constraint schema_drift_policy_check;
alter table schema_drift add constraint schema_drift_policy_check
    check (policy in ('evolve', 'freeze', 'discard_value', 'quarantine_row', 'guard'));
