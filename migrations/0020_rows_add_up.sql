-- What a run that ended well says it read is what it loaded and what it put into quarantine: a slice that was
-- read and never normalized is no success. Runs of earlier versions stay as they were reported: the rule
-- holds for what is written from now on.
alter table etl_runs add constraint etl_runs_rows_add_up_check check (
    status not in ('success', 'success_with_duplicates', 'degraded')
    or dry_run
    or rows_read = inserted + updated + unchanged + quarantined
) not valid;

-- Nor is one with a failed task, and no count is below nothing.
alter table etl_runs add constraint etl_runs_no_failed_task_check check (
    status not in ('success', 'success_with_duplicates', 'degraded') or failed_tasks = 0
) not valid;
alter table etl_runs add constraint etl_runs_counters_check check (
    least(slices, bytes, rows_read, inserted, updated, unchanged, quarantined) >= 0
) not valid;
