-- What is next to normalize is asked after every task: these answer it from a few entries, however many
-- tasks the run has settled.
drop index run_tasks_by_slice;

create index run_tasks_that_read on run_tasks (run_id, first_slice)
where kind in ('fetch_page', 'parse_csv_chunk');

-- Batches of single keys follow no order.
create index run_tasks_in_order on run_tasks (run_id, first_slice)
where kind = 'normalize_batch' and payload ->> 'rows' <> 'single';
