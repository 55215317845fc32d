-- $1 run, $2 most slices at once, $3 fewest slices as long as more are being read
with
-- Batches of single keys follow no order.
batches as (
    select state, last_slice from run_tasks
    where run_id = $1 and kind = 'normalize_batch' and payload ->> 'rows' <> 'single'
),
-- One batch at a time, so that rows count in file order whatever order the slices were read in.
busy as (
    select from batches where state = 'open'
),
-- Behind the last slice that was ever handed out.
position as (
    select coalesce(max(last_slice), -1) as last from batches
),
-- The first slice behind it that is still being read stops the batch.
unread as (
    select min(first_slice) as slice from run_tasks, position
    where run_id = $1 and kind in ('fetch_page', 'parse_csv_chunk')
      and first_slice > position.last and state = 'open'
),
ready as (
    select first_slice as slice from run_tasks, position, unread
    where run_id = $1 and kind in ('fetch_page', 'parse_csv_chunk')
      and first_slice > position.last and state = 'done' and result is not null
      and (unread.slice is null or first_slice < unread.slice)
    order by first_slice
    limit $2
)
select min(slice) as first_slice, max(slice) as last_slice
from ready
where
    not exists (select from busy)
    and ((select slice from unread) is null or (select count(*) from ready) >= $3)
